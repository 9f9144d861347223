"""Waiting without polling: one Redis stream a client process carries its wake-ups."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from concurrent.futures import Future
from typing import Any

import redis

from routing.errors import ForebayError, UnknownJob
from routing.jobs import Answer, Receipt
from routing.ledger import Ledger

log = logging.getLogger(__name__)

Outcome = Answer | Receipt
BLOCK_MS = 2_000
LOOK_AGAIN_S = 20.0  # should a wake-up be lost with Redis' memory, the records still say it
MOST = 500  # outcomes fetched in one round trip


class Wakeups:
    """Futures of jobs' outcomes, fulfilled by one thread that starts with the first of them.

    1. `expect` hands out a future and remembers it.
    2. The thread sleeps on this client's stream; each entry names a job that ended.
    3. After a lost connection it asks again for every job it still waits for.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.stream = f"fb:wake:{os.getpid()}-{secrets.token_hex(8)}"
        self._ledger = ledger
        self._lock = threading.Lock()
        self._expected: dict[str, list[Future[Outcome]]] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def expect(self, job_id: str) -> Future[Outcome]:
        """A future of this job's outcome. Have the ledger watch the job after, not before."""
        future: Future[Outcome] = Future()
        with self._lock:
            self._expected.setdefault(job_id, []).append(future)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, daemon=True, name="wakeups")
                self._thread.start()
        return future

    def drop(self, job_id: str) -> None:
        """Expect this job no longer."""
        with self._lock:
            self._expected.pop(job_id, None)

    def fulfil(self, job_ids: list[str]) -> None:
        """Fetch what became of these jobs and tell everybody here who waits for it."""
        for start in range(0, len(job_ids), MOST):
            batch = job_ids[start : start + MOST]
            for job_id, outcome in zip(batch, self._ledger.outcomes(batch), strict=True):
                if outcome is not None:
                    self._resolve(job_id, outcome)

    def close(self) -> None:
        """End the thread; what is still expected is cancelled."""
        self._closed.set()
        with self._lock:
            left = [future for futures in self._expected.values() for future in futures]
            self._expected.clear()
        for future in left:
            future.cancel()
        if self._thread is not None:
            self._stir()
            self._thread.join(timeout=BLOCK_MS / 1000 + 1)

    def _stir(self) -> None:
        """Wake the thread, and leave nothing behind."""
        client = self._ledger.redis
        with contextlib.suppress(redis.RedisError):
            client.xadd(self.stream, {"id": "", "state": "closed"})
            client.pexpire(self.stream, BLOCK_MS)

    def _resolve(self, job_id: str, outcome: Outcome | ForebayError) -> None:
        with self._lock:
            futures = self._expected.pop(job_id, [])
        for future in futures:
            if not future.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, ForebayError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

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
                looked = 0.0
                self._closed.wait(0.5)

    def _read(self, last: str) -> str:
        client = self._ledger.redis
        reply: Any = client.xread({self.stream: last}, count=5_000, block=BLOCK_MS)
        entries = [entry for _, entries in _streams(reply) for entry in entries]
        if not entries or self._closed.is_set():
            return last
        self.fulfil([fields[b"id"].decode() for _, fields in entries])
        last = entries[-1][0].decode()
        client.xtrim(self.stream, minid=last)
        return last

    def _look_again(self) -> None:
        with self._lock:
            expected = list(self._expected)
        self._ledger.redis.pexpire(self.stream, 600_000)
        for job_id in expected:
            try:
                self._ledger.watch(job_id, self.stream)
            except UnknownJob as error:
                self._resolve(job_id, error)
        self.fulfil(expected)


def _streams(reply: Any) -> list[tuple[bytes, list[Any]]]:
    """XREAD answers a list of pairs in RESP2 and a mapping in RESP3."""
    if isinstance(reply, dict):
        return [(name, entries[0] if entries else []) for name, entries in reply.items()]
    return list(reply or [])
