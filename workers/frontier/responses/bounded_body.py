"""The body of a response that is bounded in bytes and time, whatever a service sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forebay.workers.frontier.provider import OutcomeUnknown
from forebay.workers.frontier.responses.time_limit import TimeLimit

MAX_BODY_BYTES = 32_000_000  # of an answer


class BoundedBody:
    """Reads a response of urllib3, as it came: compressed data, which is never asked for, stays so.

    All methods raise `OutcomeUnknown` if the body is too long or comes too slowly, and close the
    connection then.
    """

    def __init__(self, raw: Any, limit: TimeLimit, most_bytes: int = MAX_BODY_BYTES) -> None:
        self._raw, self._limit, self._left = raw, limit, most_bytes

    def stream(self) -> Iterator[bytes]:
        """Yield the body as it comes."""
        try:
            for chunk in self._raw.stream(decode_content=False):
                yield self._counted(chunk)
            self._counted(b"")  # a connection that was cut may look like the end
        except BaseException:
            self.close()
            raise
        self._limit.end()

    def read(self, amount: int | None = None) -> bytes:
        """Return the next bytes, at most so many; nothing at the end."""
        try:
            chunk = self._counted(self._raw.read(amount, decode_content=False))
        except BaseException:
            self.close()
            raise
        if not chunk:
            self._limit.end()
        return chunk

    def end_within(self, seconds: float) -> None:
        """Give what is left of the body no more than so many seconds."""
        self._limit.shorten(seconds)

    def close(self) -> None:
        """Close the connection; what is left of the body is of no use to the next call."""
        self._limit.end()
        self._raw.close()

    def _counted(self, chunk: bytes) -> bytes:
        self._left -= len(chunk)
        if self._left < 0:
            raise OutcomeUnknown("the response is larger than any answer")
        if self._limit.is_over:
            raise OutcomeUnknown("the response takes too long")
        return chunk
