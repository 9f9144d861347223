"""Waits until other processes and threads have done something."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from forebay.producers.client import Client
from forebay.routing.diagnostics import Finding, Probe, examine
from forebay.routing.jobs import Answer

T = TypeVar("T")


def slowdown() -> float:
    """Return how many times longer work takes now than on a machine that does nothing else: 1-3."""
    return min(3.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def until(condition: Callable[[], T], within_s: float = 45.0) -> T:
    """Return the condition's value as soon as it is true; fail the test after `within_s`.

    On a busy machine it waits up to three times as long.
    """
    began = time.monotonic()
    while not (value := condition()):
        assert time.monotonic() - began < within_s * slowdown(), "did not happen in time"
        time.sleep(0.01)
    return value


def until_cached(client: Client, answer: Answer) -> None:
    """Wait until an answer is in the cache: the worker puts it there once it is on the ledger."""
    until(lambda: client._ledger.redis.exists(f"fb:cached:{answer.id}"))


def examined(probes: Iterable[Probe]) -> list[Finding]:
    """Return the findings of doctor's checks, which get all the time that a busy machine needs."""
    return list(examine(probes, within_s=120.0))
