"""Measure how the cost of a function grows with its input, in CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIMES = 8  # how much larger the large input of a test is
#: Linear work grows 8 times and its constant part less, work that takes the square 64 times.
LINEAR = 24
_ROUNDS = 2  # with the small input, of which the fastest counts
_MIN_S = 0.002  # of one measurement; shorter work is repeated


def growth(work: Callable[[T], object], small: T, large: T) -> float:
    """Return how many times longer the work takes on the large input than on the small one."""
    work(small)  # fills caches
    small_s = min(_once_s(work, small) for _ in range(_ROUNDS))
    found = _once_s(work, large) / small_s
    if found < LINEAR:  # a disturbance makes the large input look worse, never better
        return found
    return min(found, _once_s(work, large) / small_s)


def _once_s(work: Callable[[T], object], value: T) -> float:
    began, times = time.thread_time(), 0
    while (took := time.thread_time() - began) < _MIN_S:
        work(value)
        times += 1
    return took / times
