"""Tells which jobs have ended: the ledger writes their ends to a stream."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable
from typing import Any

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.store.connection import reaching_redis

LOOK_AGAIN_S = 10.0  # a wake-up can get lost with Redis' memory, so the records are read as well
MAX_ENTRIES = 1_000


class Arrivals:
    """The ends of jobs of one bulk.

    Attributes:
        stream: the stream to which the ledger writes the ends of jobs that this process waits for.
    """

    def __init__(self, ledger: Ledger, tenant: str) -> None:
        self._ledger = ledger
        self.stream = f"fb:wake:{tenant}:{os.getpid()}-{secrets.token_hex(8)}"
        self._last = "0"
        self._looked_at = time.monotonic()

    def watch(self, job_ids: list[str]) -> set[str]:
        """Have the ends of these jobs written to the stream; return those that ended before."""
        states = self._ledger.watch_all(job_ids, self.stream)
        return {
            job_id
            for job_id, state in zip(job_ids, states, strict=True)
            if state is None or state in ENDED
        }

    def wait(self, awaited: Iterable[str], timeout_s: float) -> set[str]:
        """Return the jobs whose end was written, waiting for the first for at most `timeout_s`.

        Now and then all records are read.

        Args:
            awaited: the jobs that this process waits for.
            timeout_s: at most 1.
        """
        ended = self._read(timeout_s)
        now = time.monotonic()
        if now - self._looked_at > LOOK_AGAIN_S:
            self._looked_at = now
            jobs = list(awaited)
            for start in range(0, len(jobs), MAX_ENTRIES):
                ended |= self.watch(jobs[start : start + MAX_ENTRIES])
        return ended

    def close(self) -> None:
        """Remove the stream."""
        with reaching_redis():
            self._ledger.redis.delete(self.stream)

    def _read(self, timeout_s: float) -> set[str]:
        block = max(1, int(timeout_s * 1000))
        with reaching_redis():
            replies: Any = self._ledger.redis.xread({self.stream: self._last}, MAX_ENTRIES, block)
        ended = set()
        for _, entries in replies or ():
            for entry, fields in entries:
                self._last = entry.decode()
                ended.add(fields[b"id"].decode())
        if ended:
            with reaching_redis():
                self._ledger.redis.xtrim(self.stream, minid=self._last, approximate=False)
        return ended
