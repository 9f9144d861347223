"""What the sources that are made of lines have in common: opening, the check of the first bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.streams.fingerprint import Fingerprint
from forebay.producers.bulk.streams.inputs import Input, readable
from forebay.routing.errors import InvalidJob

#: How many bytes of the first line are enough to see that an input is in another format.
HEAD_BYTES = 64


class TextSource(Source):
    """Rows in lines of UTF-8 text; positions are byte offsets.

    Args:
        content: where the bytes come from.
        may_be_empty: no rows at all are no error, as for a list that a program made.
    """

    def __init__(self, content: Input, *, may_be_empty: bool = False) -> None:
        super().__init__(content.name)
        self._content = content
        self._may_be_empty = may_be_empty

    @property
    def until(self) -> float:
        """The offset at which the rows end, even if more is written there later."""
        return self._content.until

    @property
    def still_comes(self) -> bool:
        """Whether the input is read once and has not come to its end."""
        return not self._content.complete

    @property
    def rereading(self) -> float | None:
        """How much of what an earlier process read has come again; `None` if nothing has to."""
        return self._content.rereading

    @abstractmethod
    def check_head(self, head: bytes) -> None:
        """Check the first bytes of the input. Raises `InvalidJob`."""

    @contextmanager
    def opened(self, offset: int) -> Iterator[BinaryIO]:
        """Return the input's bytes from an offset on, after a look at its first bytes."""
        with readable(self.name):
            with self._content.open() as stream:
                head = stream.readline(HEAD_BYTES)  # a terminal or a pipe may have no more yet
            if head or not self._may_be_empty:
                self.check_head(head)
            with self._content.open(offset) as stream:
                yield stream

    def check_has_rows(self, number: int) -> None:
        """Raise `InvalidJob` if the last row's number says that there are no rows."""
        if not number and not self._may_be_empty:
            raise InvalidJob("has no rows: it must have at least one", field=self.name)

    def size(self) -> int:
        """Return how many bytes the input has."""
        return self._content.size()

    def fingerprint(self) -> Fingerprint:
        """Return size, digest and time of the whole input."""
        return self._content.fingerprint()

    def changed_since(self, then: Fingerprint) -> str | None:
        """Return a sentence that says what changed, or `None`."""
        change = self._content.changed_since(then)
        return change and f"{self.name} {change}"

    def wait_at_most(self, seconds: float) -> None:
        """From now on, raise `NotYet` if reading would wait longer for a row of a pipe."""
        self._content.wait_at_most(seconds)

    def sync(self) -> None:
        """Make durable what was read."""
        self._content.sync()

    def close(self) -> None:
        """Close files that the source keeps open."""
        self._content.close()
