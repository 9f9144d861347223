"""The options of a bulk."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from pydantic import BaseModel

from forebay.routing.base import Egress, Kind
from forebay.routing.errors import InvalidJob

Order = Literal["input", "any"]

#: A bulk or a row cannot be allowed to cost more dollars: it is a mistake.
MAX_USD = 1_000_000

#: A file, a folder of text files, `-` for standard input, or an iterable of rows. A generator, or
#: any other iterable that is no collection, is iterated over on a thread of its own.
RowsLike = str | PathLike[str] | Iterable[Any]

#: For asyncio: also an async iterable, which is iterated over on the event loop.
AsyncRowsLike = RowsLike | AsyncIterable[Any]


class BulkOptions(TypedDict, total=False):
    """The options of a bulk.

    Attributes:
        out: the file of the results: `.jsonl`, `.csv`, `.parquet`, or `.npy` for embeddings.
            Without it, iterate over the handle; nothing is left when the handle is closed.
        source_format: the format of the rows, if the name of their file does not tell.
        out_format: the format of the output, if its name does not tell.
        order: `input` (the default): results have the order of the rows. `any`: they are written as
            they come.
        deadline: rows that are not answered by then end as expired: a time, or a span from now.
        max_usd: what the bulk may cost on Bedrock. Once it is spent, rows keep their local answers.
        max_cost_usd: what one row may cost on Bedrock.
        overwrite: replace an output that exists.
    """

    out: str | PathLike[str] | None
    source_format: str | None
    out_format: str | None
    order: Order
    deadline: datetime | timedelta | None
    max_usd: float | None
    max_cost_usd: float | None
    overwrite: bool


class RowOptions(BulkOptions, total=False):
    """The options of a bulk, and those that say how a row becomes a request.

    Attributes:
        kind: the kind of all requests. Without it, each row is a request or a job already.
        text_field: the column with the text; `text` by default.
        text: a form for the text instead, such as `{title}: {body}`.
        system: a form for the first message of `generate`, which says how to answer.
        user: a form for the last message of `generate`, which asks.
        key: the column with the row's key; without it, a row is known by its number.
        egress: `allow` if the rows may leave the building; `deny` by default.
        egress_column: a column with `deny` or `allow`.
        labels, schema, max_words, focus, max_tokens, temperature, top_p, stop, seed, regex: fields
            that all requests share. Labels and a schema may be a `Path` of a file that holds them.
    """

    kind: Kind | None
    text_field: str | None
    text: str | None
    system: str | None
    user: str | None
    key: str | None
    egress: Egress
    egress_column: str | None
    labels: Any
    schema: dict[str, Any] | type[BaseModel] | Path
    max_words: int
    focus: str
    max_tokens: int
    temperature: float
    top_p: float
    stop: Any
    seed: int
    regex: str


#: The types of the options, and how an error names them.
_TYPES: dict[str, tuple[Any, str]] = {
    "out": (str | PathLike, "the name of a file"),
    "source_format": (str, "text"),
    "out_format": (str, "text"),
    "deadline": (datetime | timedelta, "a datetime or a timedelta"),
    "max_usd": (int | float, "a number of dollars"),
    "max_cost_usd": (int | float, "a number of dollars"),
}


def check_options(options: BulkOptions) -> None:
    """Check the options that can be checked without rows.

    Raises:
        InvalidJob: One of them is wrong.
    """
    for name, (known, words) in _TYPES.items():
        value = options.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, known)):
            raise InvalidJob(f"must be {words}, not {type(value).__name__}", field=name)
    if options.get("order", "input") not in get_args(Order):
        raise InvalidJob("must be input or any", field="order")
    for name in ("max_usd", "max_cost_usd"):
        limit = options.get(name)
        if limit is not None and not 0 <= limit <= MAX_USD:  # type: ignore[operator]  # a number, as checked
            raise InvalidJob(f"must be from 0 to {MAX_USD:,} dollars", field=name)
    deadline = timestamp(options.get("deadline"))
    if deadline is not None and deadline <= datetime.now(UTC).timestamp():
        raise InvalidJob("is past: no row could be answered by then", field="deadline")


def timestamp(deadline: datetime | timedelta | None) -> float | None:
    """Return a deadline in seconds since 1970. Raises `InvalidJob` if it has no time zone."""
    if isinstance(deadline, timedelta):
        return (datetime.now(UTC) + deadline).timestamp()
    if deadline is not None and deadline.tzinfo is None:
        raise InvalidJob("must have a time zone", field="deadline")
    return None if deadline is None else deadline.timestamp()


BULK_OPTIONS = frozenset(BulkOptions.__annotations__)
