"""Waits until other processes and threads have done something."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float = 45.0) -> T:
    """Return the condition's value as soon as it is true; fail the test after `within_s`."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
    return value
