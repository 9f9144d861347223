"""Waiting between tries: exponential backoff with jitter, written once for all that retries."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from forebay.routing.errors import Unavailable

MAX_DOUBLINGS = 32  # a float overflows at 1024
#: A service that asks for a longer wait has a wrong clock, or means something else.
MAX_ASKED_S = 86_400.0

T = TypeVar("T")


def jittered(wait_s: float) -> float:
    """Return a random wait between half of `wait_s` and all of it, so that waiters spread out."""
    return random.uniform(0.5, 1.0) * wait_s


def backoff(tries: int, *, first_s: float, max_s: float) -> float:
    """Return the seconds to wait after the given number of tries: doubling, with jitter."""
    return jittered(min(max_s, first_s * 2.0 ** min(tries - 1, MAX_DOUBLINGS)))


def asked_wait_s(retry_after: str) -> float | None:
    """Return the seconds that a header Retry-After asks for, as a number or as a date.

    Returns:
        At most `MAX_ASKED_S`, and 0 for a date that is over; `None` if the header is neither.
    """
    text = retry_after.strip()
    if re.fullmatch(r"\d{1,9}(\.\d*)?", text):
        return min(float(text), MAX_ASKED_S)
    try:
        wait_s = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, wait_s), MAX_ASKED_S)


def patiently(
    call: Callable[[], T],
    *,
    patience_s: float,
    pause_s: float = 1.0,
    on_failure: Callable[[Unavailable], object] | None = None,
) -> T:
    """Return what `call` returns; while it raises `Unavailable`, pause and call again.

    Args:
        call: may be called several times.
        patience_s: after so many seconds a failure is final. The first call is always made.
        pause_s: seconds between two calls, with jitter.
        on_failure: called with each error that is followed by another call.

    Raises:
        Unavailable: The last call's, when the patience is used up.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            return call()
        except Unavailable as error:
            if time.monotonic() > end:
                raise
            if on_failure is not None:
                on_failure(error)
            time.sleep(jittered(pause_s))
