"""The requests that reached the mock, as tests and reports read them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Self


@dataclass
class Call:
    """A request that reached the mock.

    Attributes:
        at: Unix time of its arrival.
        call_id: the caller's own id of the call; empty if the request has none.
        text: its whole body.
        status: HTTP status of the answer; `None` until there is one.
        fault: the fault that was played, if any.
        tokens_in, tokens_out: what the answer bills, whatever its usage says; 0 without an answer.
        cache_read, cache_written: the part of `tokens_in` that was read from the prompt cache, or
            written to it.
        whole: the answer was sent to its end.
        took_s: seconds until then.
    """

    at: float
    operation: str
    model: str
    call_id: str
    text: str
    status: int | None = None
    fault: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cache_read: int = 0
    cache_written: int = 0
    whole: bool = False
    took_s: float = 0.0

    @classmethod
    def arrived(cls, operation: str, model: str, body: bytes) -> Self:
        """Return the record of a request that arrives now; its body may be anything."""
        text = body.decode("utf-8", "replace")
        call_id = re.search(r'"forebay-call"\s*:\s*"([^"]*)"', text)
        return cls(time.time(), operation, model, call_id[1] if call_id else "", text)
