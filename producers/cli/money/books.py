# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""What the commands about money read: the calls of the fleets, and the price list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from forebay.producers.cli import display
from forebay.producers.cli.operator.readers import open_readers
from forebay.producers.cli.operator.spans import between

if TYPE_CHECKING:
    from forebay.routing.books.call_book import CallRecord
    from forebay.routing.ledger.reader import LedgerReader
    from forebay.routing.limits.prices import Prices


def read_prices(path: Path | None) -> Prices:
    """Return the price list of an option, of `FOREBAY_PRICES_FILE`, or the packaged list."""
    import os

    from forebay.routing.limits.prices import VARIABLE, Prices

    named = os.environ.get(VARIABLE)
    return Prices.load(path or (Path(named) if named else None))


def calls_of_fleets(
    since: str, until: str | None, tenant: str | None, model: str | None
) -> list[CallRecord]:
    """Return the calls of a span of time in all fleets, the oldest first."""
    calls = [
        call for reader in open_readers().values() for call in calls_of_fleet(reader, since, until)
    ]
    calls.sort(key=lambda call: (call.at_ms, call.id))
    return [
        call for call in calls
        if tenant in {None, call.tenant} and model in {None, call.model}
    ]  # fmt: skip


def calls_of_fleet(reader: LedgerReader, since: str, until: str | None) -> list[CallRecord]:
    """Return the calls of a span of time in one fleet."""
    from forebay.routing.books.call_book import CallBook
    from forebay.routing.books.usage_report import gap_in_calls
    from forebay.routing.overview.all_jobs import for_operators

    start, end = between(since, until)
    book = CallBook(reader.redis)
    with for_operators():
        if gap_ms := book.gap_ms(int(start * 1_000)):
            display.note(gap_in_calls(gap_ms / 1_000))
        return book.calls(int(start * 1_000), int(end * 1_000))
