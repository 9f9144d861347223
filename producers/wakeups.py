"""Waiting without polling: one Redis stream a client process carries its wake-ups."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import redis

from forebay.routing.errors import ForebayError, Unavailable, UnknownJob
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.ledger.ledger import Ledger

log = logging.getLogger(__name__)

Result = Answer | Receipt
BLOCK_MS = 2_000
LOOK_AGAIN_S = 20.0  # should a wake-up be lost with Redis' memory, the records still say it
STREAM_MS = 600_000
MAX_RESULTS_PER_ROUND_TRIP = 500  # outcomes fetched in one round trip
TRIM_EVERY = 1_000  # entries read


class Wakeups:
    """Futures of jobs' outcomes, fulfilled by one thread that starts with the first of them.

    1. `expect` hands out a future and remembers it; `creating` does so for jobs on their way.
    2. The thread sleeps on this client's stream; each entry names a job that ended.
    3. Now and then, and after a lost connection, it asks again for every job it still waits for;
       it warns when nobody serves the queue that the first of them is in.
    """

    def __init__(self, ledger: Ledger, tenant: str) -> None:
        self.stream = f"fb:wake:{tenant}:{os.getpid()}-{secrets.token_hex(8)}"
        self._ledger = ledger
        self._lock = threading.Lock()
        self._expected: dict[str, list[Future[Result]]] = {}
        self._creating: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def expect(self, job_id: str) -> Future[Result]:
        """A future of this job's outcome. Have the ledger watch the job after, not before.

        Raises:
            Unavailable: The client was closed.
        """
        future: Future[Result] = Future()
        with self._lock:
            if self._closed.is_set():
                raise Unavailable("the client is closed")
            self._expected.setdefault(job_id, []).append(future)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, daemon=True, name="wakeups")
                self._thread.start()
        return future

    @contextmanager
    def creating(self, job_ids: Sequence[str]) -> Iterator[dict[str, Future[Result]]]:
        """Futures of jobs that this block creates; until its end, not to exist is no error.

        Where the block fails nothing is expected any more.
        """
        with self._lock:
            self._creating.update(job_ids)
        futures = {job_id: self.expect(job_id) for job_id in job_ids}
        try:
            yield futures
        except BaseException:
            for job_id, future in futures.items():
                self.give_up(job_id, future)
            raise
        finally:
            with self._lock:
                self._creating.difference_update(job_ids)

    def give_up(self, job_id: str, future: Future[Result]) -> None:
        """Nobody waits for this future any more."""
        with self._lock:
            futures = self._expected.get(job_id, [])
            if future in futures:
                futures.remove(future)
            if not futures:
                self._expected.pop(job_id, None)

    def fulfil(self, job_ids: Sequence[str], *, ended: bool = False) -> None:
        """Fetch what became of these jobs and tell everybody here who waits for it.

        Args:
            job_ids: of jobs that have ended, or may have.
            ended: they have; one of which nothing is left was forgotten.
        """
        for start in range(0, len(job_ids), MAX_RESULTS_PER_ROUND_TRIP):
            batch = job_ids[start : start + MAX_RESULTS_PER_ROUND_TRIP]
            for job_id, outcome in zip(batch, self._ledger.results(batch), strict=True):
                if outcome is not None:
                    self._resolve(job_id, outcome)
                elif ended:
                    self._resolve(job_id, UnknownJob("the job was forgotten", field="id"))

    def close(self) -> None:
        """End the thread; what is still expected fails with `Unavailable`."""
        with self._lock:
            self._closed.set()
            left = list(self._expected)
        for job_id in left:
            self._resolve(job_id, Unavailable("the client is closed"))
        if self._thread is not None:
            self._stir()
            self._thread.join(timeout=BLOCK_MS / 1000 + 1)

    def _stir(self) -> None:
        """Wake the thread, and leave nothing behind."""
        client = self._ledger.redis
        with contextlib.suppress(redis.RedisError):
            client.xadd(self.stream, {"id": "", "state": "closed"})
            client.pexpire(self.stream, BLOCK_MS)

    def _resolve(self, job_id: str, outcome: Result | ForebayError) -> None:
        with self._lock:
            futures = self._expected.pop(job_id, [])
        for future in futures:
            if not future.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, ForebayError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    # --- the thread -------------------------------------------------------------------------------

    def _listen(self) -> None:
        last, looked = "0", time.monotonic()
        while not self._closed.is_set():
            try:
                last = self._read(last)
                if time.monotonic() - looked > LOOK_AGAIN_S:
                    looked = time.monotonic()
                    self._look_again()
            except (redis.RedisError, ForebayError) as error:
                log.warning("waiting for Redis (%s)", type(error).__name__)
                looked = float("-inf")
                self._closed.wait(0.5)

    def _read(self, last: str) -> str:
        client = self._ledger.redis
        reply: Any = client.xread({self.stream: last}, count=TRIM_EVERY, block=BLOCK_MS)
        entries = [entry for _, entries in _streams(reply) for entry in entries]
        if not entries or self._closed.is_set():
            return last
        self.fulfil([fields[b"id"].decode() for _, fields in entries], ended=True)
        last = entries[-1][0].decode()
        if len(entries) == TRIM_EVERY:
            client.xtrim(self.stream, minid=last)
        return str(last)

    def _look_again(self) -> None:
        with self._lock:
            expected = [one for one in self._expected if one not in self._creating]
        self._ledger.redis.pexpire(self.stream, STREAM_MS)
        for start in range(0, len(expected), MAX_RESULTS_PER_ROUND_TRIP):
            batch = expected[start : start + MAX_RESULTS_PER_ROUND_TRIP]
            states = self._ledger.watch_all(batch, self.stream)
            for job_id, state in zip(batch, states, strict=True):
                if state is None:
                    self._resolve(job_id, UnknownJob("no such job", field="id"))
            self.fulfil(batch)
        self._warn()

    def _warn(self) -> None:
        with self._lock:
            first = next((one for one in self._expected if one not in self._creating), None)
        if first is None:
            return
        with contextlib.suppress(UnknownJob):  # it ended and was forgotten just now
            status = self._ledger.status(first)
            if not status.served:
                log.warning("job %s waits in %s, which no worker serves", first, status.queue)


def _streams(reply: Any) -> list[tuple[bytes, list[Any]]]:
    """XREAD answers a list of pairs in RESP2 and a mapping in RESP3."""
    if isinstance(reply, dict):
        return [(name, entries[0] if entries else []) for name, entries in reply.items()]
    return list(reply or [])
