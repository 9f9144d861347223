"""Waits until other processes and threads have done something."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from forebay.routing.diagnostics import Finding, Probe, examine

T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float = 45.0) -> T:
    """Return the condition's value as soon as it is true; fail the test after `within_s`."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
    return value


def examined(probes: Iterable[Probe]) -> list[Finding]:
    """Return the findings of doctor's checks, which get all the time that a busy machine needs."""
    return list(examine(probes, within_s=120.0))
