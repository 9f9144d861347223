"""Waiting without polling: one Redis stream for each client process carries its wake-ups."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet

import redis
from pydantic import BaseModel

from forebay.producers.handles import answer_model_of
from forebay.producers.results import Result, unknown_job, with_model
from forebay.routing.errors import ForebayError, Unavailable, UnknownJob
from forebay.routing.jobs import Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.log_lines.repeats import Repeats
from forebay.routing.logs import Event, event, place
from forebay.routing.store.connection import streams
from forebay.routing.store.event_loop import Background, on_event_loop, pause

log = logging.getLogger(__name__)
log.addFilter(Repeats())  # the caller's program may write lines by itself

BLOCK_MS = 2_000  # of one read; less if the client's socket times out earlier
LOOK_AGAIN_S = 20.0  # if Redis loses a wake-up with its memory, the records still tell the result
STREAM_TTL_MS = 600_000
PAUSE_S = 0.5  # after an error, before Redis is tried again
MAX_RESULTS_PER_ROUND_TRIP = 500
MAX_RESULTS_PER_ROUND_TRIP_ON_LOOP = 20  # reading more at once would hold up the event loop
MAX_ENTRIES_PER_READ = 1_000


class _Waiter(NamedTuple):
    future: Future[Result]
    answer_model: type[BaseModel] | None


class Wakeups:
    """Futures of jobs' results, fulfilled by listeners that start with the first future.

    1. `expect` hands out a future and remembers it; `watch` also has the ledger write the job's end
       to the stream, and `creating` is for jobs that are about to be submitted.
    2. A listener for each fleet, a thread or a task of the event loop, waits for this client's
       stream there; each entry names a job that ended.
    3. Every 20 seconds, and after any error, the listener asks the ledger about every job that is
       still expected, and warns if nobody serves the queue of the first of them.
    4. A future that is cancelled is forgotten.
    5. A forked child begins anew, with a stream and a thread of its own: threads do not survive a
       fork. The futures stay with the parent.
    """

    def __init__(self, ledger: Ledger, tenant: str) -> None:
        self._ledger, self._tenant = ledger, tenant
        self._begin(closed=False)
        _all_wakeups.add(self)

    def _begin(self, *, closed: bool) -> None:
        """Make what belongs to one process; a lock may be held by a thread that did not fork."""
        self.stream = f"fb:wake:{self._tenant}:{os.getpid()}-{secrets.token_hex(8)}"
        self._lock = threading.Lock()
        self._expected: dict[str, list[_Waiter]] = {}
        self._creating: set[str] = set()
        self._listeners: dict[Ledger, Background] = {}
        self._last_entries: dict[Ledger, str] = {}
        self._closed = threading.Event()
        if closed:
            self._closed.set()

    def begin_in_child(self) -> None:
        """Begin anew in a child process that was forked."""
        self._begin(closed=self._closed.is_set())

    def expect(self, job_id: str, answer_model: type[BaseModel] | None = None) -> Future[Result]:
        """Return a future of this job's result. Have the ledger watch the job after, not before.

        Raises:
            Unavailable: The client was closed.
        """
        future: Future[Result] = Future()
        with self._lock:
            if self._closed.is_set():
                raise Unavailable("the client is closed")
            self._expected.setdefault(job_id, []).append(_Waiter(future, answer_model))
        # A future that its own callback names would stay until Python's collector looks.
        future.add_done_callback(partial(self._forget, job_id))
        self._begin_listening()
        return future

    def watch(self, job_id: str) -> Future[Result]:
        """Return a future of a submitted job's result; raise what `watch_all` returns or raises."""
        future = self.watch_all([job_id])[0]
        if isinstance(future, ForebayError):
            raise future
        return future

    def watch_all(self, job_ids: Sequence[str]) -> list[Future[Result] | UnknownJob]:
        """Return futures of submitted jobs' results, or the error of a job that does not exist.

        Raises:
            Unavailable: The client was closed, or Redis cannot be reached.
        """
        futures = [self.expect(job_id, answer_model_of(job_id)) for job_id in job_ids]
        try:
            states = self._ledger.watch_all(job_ids, self.stream)
            self.fulfil([one for one, state in zip(job_ids, states, strict=True) if state in ENDED])
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return [
            future if state is not None or not future.cancel() else unknown_job(job_id)
            for job_id, future, state in zip(job_ids, futures, states, strict=True)
        ]

    @contextmanager
    def creating(self, jobs: Sequence[Job]) -> Iterator[dict[str, Future[Result]]]:
        """Yield futures, by id, of jobs that this block creates.

        Until the block ends, a job that does not exist yet is no error. If the block fails, its
        futures are cancelled.
        """
        with self._lock:
            self._creating.update(job.id for job in jobs)
        futures = {job.id: self.expect(job.id, answer_model_of(job)) for job in jobs}
        try:
            yield futures
        except BaseException:
            for future in futures.values():
                future.cancel()
            raise
        finally:
            with self._lock:
                self._creating.difference_update(job.id for job in jobs)

    def fulfil(self, job_ids: Sequence[str], *, ended: bool = False) -> None:
        """Fetch the results of these jobs and resolve every future that waits for them.

        Args:
            job_ids: jobs that have ended, or may have ended.
            ended: the jobs ended a moment ago; a job without a record was forgotten.
        """
        size = MAX_RESULTS_PER_ROUND_TRIP_ON_LOOP if on_event_loop() else MAX_RESULTS_PER_ROUND_TRIP
        for start in range(0, len(job_ids), size):
            batch = job_ids[start : start + size]
            results = dict(zip(batch, self._ledger.results(batch), strict=True))
            for job_id, result in results.items():
                if result is not None:
                    self._resolve(job_id, result)
            if ended:
                missing = [one for one in batch if results[one] is None]
                self._resolve_unknown(missing, "the job was forgotten")

    def _resolve_unknown(self, job_ids: Sequence[str], why: str) -> None:
        """Resolve the jobs without a record, and watch the others again.

        If a job has a record and no end although it ended, Redis lost the end in a failover.
        """
        states = self._ledger.watch_all(job_ids, self.stream) if job_ids else []
        for job_id, state in zip(job_ids, states, strict=True):
            if state is None:
                self._resolve(job_id, UnknownJob(why, field="id"))

    def close(self) -> None:
        """End the thread; futures that are still expected fail with `Unavailable`."""
        with self._lock:
            self._closed.set()
            expected = list(self._expected)
        for job_id in expected:
            self._resolve(job_id, Unavailable("the client is closed"))
        for fleet, listener in list(self._listeners.items()):
            listener.stop(partial(self._wake_thread, fleet.redis), BLOCK_MS / 1000 + 1)

    def _begin_listening(self) -> None:
        """Listen in each fleet that may hold jobs of the tenant."""
        with self._lock:
            for fleet in self._ledger.places():
                if fleet not in self._listeners and not self._closed.is_set():
                    self._listeners[fleet] = Background(partial(self._listen, fleet), "wakeups")

    def _wake_thread(self, client: redis.Redis) -> None:
        """Write an entry that ends the thread's wait; the stream itself expires soon after."""
        with suppress(redis.RedisError):
            client.xadd(self.stream, {"id": "", "state": "closed"})
            client.pexpire(self.stream, BLOCK_MS)

    def _forget(self, job_id: str, future: Future[Result]) -> None:
        """Expect nothing more for a future that is done."""
        with self._lock:
            waiters = [one for one in self._expected.get(job_id, ()) if one.future is not future]
            if waiters:
                self._expected[job_id] = waiters
            else:
                self._expected.pop(job_id, None)

    def _resolve(self, job_id: str, result: Result | ForebayError) -> None:
        with self._lock:
            waiters = self._expected.pop(job_id, [])
        for future, answer_model in waiters:
            if not future.set_running_or_notify_cancel():
                continue
            if isinstance(result, ForebayError):
                result.job_id = result.job_id or str(job_id)
                future.set_exception(result)
                continue
            try:
                future.set_result(with_model(result, answer_model))
            except ForebayError as error:
                future.set_exception(error)

    def _listen(self, fleet: Ledger) -> None:
        """Resolve the jobs of one fleet as they end, as long as it may hold jobs of the tenant."""
        looked_at, left = time.monotonic(), False
        while not self._closed.is_set() and not left:
            try:
                self._read(fleet)
                left = fleet not in self._ledger.places()
                if left or time.monotonic() - looked_at > LOOK_AGAIN_S:
                    looked_at = time.monotonic()
                    self._look_again()
            except Exception as error:  # noqa: BLE001 - without this thread every caller hangs
                where = _type_and_place(error)
                log.warning("waiting for Redis (%s)", where, extra=event(Event.REDIS_AWAY))
                looked_at, left = float("-inf"), False
                pause(PAUSE_S, unless=self._closed)
        with self._lock:
            self._listeners.pop(fleet, None)

    def _read(self, fleet: Ledger) -> None:
        """Resolve the jobs of a fleet that ended since the last entry.

        The last entry moves on first, so that an entry that cannot be handled is not read again.
        """
        client, after = fleet.redis, self._last_entries.get(fleet, "0")
        block = _block_ms(client)
        reply: Any = client.xread({self.stream: after}, count=MAX_ENTRIES_PER_READ, block=block)
        entries = [entry for _, entries in streams(reply) for entry in entries]
        if not entries or self._closed.is_set():
            return
        self._last_entries[fleet] = last = entries[-1][0].decode()
        ids = (fields.get(b"id", b"").decode(errors="replace") for _, fields in entries)
        self.fulfil(list(filter(None, ids)), ended=True)
        if len(entries) == MAX_ENTRIES_PER_READ:
            client.xtrim(self.stream, minid=last)

    def _look_again(self) -> None:
        """Ask the ledger about every expected job, in case a wake-up was lost."""
        with self._lock:
            expected = [job_id for job_id in self._expected if job_id not in self._creating]
        for fleet in self._ledger.places():
            fleet.redis.pexpire(self.stream, STREAM_TTL_MS)
        for start in range(0, len(expected), MAX_RESULTS_PER_ROUND_TRIP):
            batch = expected[start : start + MAX_RESULTS_PER_ROUND_TRIP]
            self._resolve_unknown(batch, "no such job")
            self.fulfil(batch)
        for job_id in expected[:1]:
            self._warn_if_unserved(job_id)

    def _warn_if_unserved(self, job_id: str) -> None:
        with suppress(UnknownJob):  # the job ended and was forgotten just now
            status = self._ledger.status(job_id)
            if not status.served:
                log.warning(
                    "job %s waits in %s, which no worker serves", job_id, status.queue,
                    extra=event(Event.JOB_UNSERVED, job=job_id),
                )  # fmt: skip


def _block_ms(client: redis.Redis) -> int:
    """Return how long a read may wait for an entry: a lent client may give up before we do."""
    socket_timeout_s = client.get_connection_kwargs().get("socket_timeout")
    return BLOCK_MS if not socket_timeout_s else max(1, min(BLOCK_MS, int(socket_timeout_s * 500)))


def _type_and_place(error: Exception) -> str:
    """Return an error's type and, if it is a surprise, where it came from; never its message."""
    name = type(error).__name__
    is_known = isinstance(error, redis.RedisError | ForebayError)
    return name if is_known else f"{name} at {place(error)}"


_all_wakeups: WeakSet[Wakeups] = WeakSet()


def _begin_all_in_child() -> None:
    for wakeups in list(_all_wakeups):
        wakeups.begin_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_all_in_child)
