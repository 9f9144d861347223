"""Wait until every job has ended."""

from __future__ import annotations

import time

import redis

from books.finding import Told
from forebay.routing.ledger.record import ENDED


def await_ends(client: redis.Redis, told: Told, idle_s: float) -> None:
    """Return when every job has ended, or when no job has ended for `idle_s` seconds."""
    left, ended_at = sorted(told.all), time.monotonic()
    while left and time.monotonic() - ended_at < idle_s:
        with client.pipeline(transaction=False) as pipe:
            for job_id in left:
                pipe.hget(f"fb:job:{job_id}", "state")
            states = pipe.execute()
        still = [
            job_id for job_id, state in zip(left, states, strict=True)
            if state is not None and state.decode() not in ENDED
        ]  # fmt: skip
        if len(still) < len(left):
            left, ended_at = still, time.monotonic()
        time.sleep(0.2)
