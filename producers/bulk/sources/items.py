"""Writes the items of any iterable as lines of JSON, so that they can be kept and read again.

A line holds an object, or a JSON string that says why the item is no row.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from forebay.producers.bulk.sources.jsonl import JsonlSource, Mistake, read_object
from forebay.producers.bulk.streams.inputs import Input
from forebay.producers.bulk.streams.lines import TOO_LONG, Line
from forebay.routing.base import FrozenModel
from forebay.routing.jobs import Job, owner

#: What an item may be, as an error says it.
KINDS_OF_ITEM = "a mapping, a string, a request or a Job"

#: Items that come more slowly are not gathered before they are read.
MAX_WAIT_S = 0.05


class ItemsSource(JsonlSource):
    """The items of an iterable, in the lines that `encoded` makes of them."""

    def __init__(self, content: Input) -> None:
        super().__init__(content, may_be_empty=True)

    def check_head(self, head: bytes) -> None:
        """Check nothing: the lines are our own."""

    def columns(self) -> tuple[str, ...] | None:
        """Return `None`: a program may make the items one by one, so none is read ahead."""
        return None

    def _read(self, line: Line) -> dict[str, Any] | Mistake:
        if line.data is None:
            return Mistake(None, TOO_LONG)
        if line.data.startswith(b'"'):
            return Mistake(None, from_json(line.data))
        return read_object(line.data)


class ItemStream:
    """The encoded items of a collection, as bytes that are read once."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items: Iterator[Any] = iter(items)
        self._failure: BaseException | None = None
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return bytes of the items that come within `MAX_WAIT_S`, at least one; none at the end.

        Raises whatever the iterable raises, at each later call too: it has not come to its end.
        """
        if not self._rest:
            self._rest = b"".join(self._lines(size))
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _lines(self, size: int) -> Iterator[bytes]:
        if self._failure:
            raise self._failure
        until = time.monotonic() + MAX_WAIT_S
        try:
            for item in self._items:
                yield (line := encoded(item))
                size -= len(line)
                if size <= 0 or time.monotonic() > until:
                    return
        except BaseException as error:
            self._failure = error
            raise


def encoded(item: Any) -> bytes:
    """Return the line of one item. An item that is no row becomes a line that says why."""
    try:
        if isinstance(item, str):
            fields: Any = {"text": item}
        elif isinstance(item, Job):
            fields = _of_job(item)
        elif isinstance(item, FrozenModel):
            fields = item.model_dump(mode="json", by_alias=True, exclude_unset=False)
        elif isinstance(item, Mapping):
            fields = dict(item)
        else:
            return _mistake(f"is {type(item).__name__}; a row must be {KINDS_OF_ITEM}")
        return to_json(fields) + b"\n"
    except (PydanticSerializationError, ValueError, RecursionError):
        return _mistake("holds a value that JSON cannot hold")


def _mistake(reason: str) -> bytes:
    return to_json(reason) + b"\n"


def _of_job(job: Job) -> dict[str, Any]:
    """Return the fields of a job that were given a value of their own; its id is not kept."""
    given = job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    tenant = owner(job.id)
    rest = {"tenant": tenant} if tenant != "default" else {}
    request = job.request.model_dump(mode="json", by_alias=True)
    return {**{name: given[name] for name in given if name != "id"}, **rest, "request": request}
