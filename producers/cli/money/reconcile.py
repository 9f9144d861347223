# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The commands that end unknown outcomes: `forebay spend reconcile` by a bill, `settle` by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.producers.cli import display
from forebay.producers.cli.money.books import calls_of_fleet, calls_of_fleets, read_prices
from forebay.producers.cli.money.options import PricesFile
from forebay.producers.cli.operator.readers import open_readers
from forebay.producers.cli.operator.spans import Since, Until
from forebay.routing.errors import counted
from forebay.routing.terminal.options import Json, argument, flag, option

if TYPE_CHECKING:
    from forebay.routing.books.bills.reconcile import Difference
    from forebay.routing.books.call_book import CallRecord
    from forebay.routing.books.invocations import Invocation
    from forebay.routing.limits.prices import Prices

Files = Annotated[
    list[Path],
    argument(
        "FILE...",
        "Bedrock's invocation logs (JSON), or a Cost and Usage Report (CSV or Parquet), all "
        "parts of it; or folders of them.",
    ),
]
Account = Annotated[
    str | None, option("--account", "ID", "Of a cost report: only lines of this account.")
]
CallId = Annotated[str, argument("CALL", "Id of the call.")]
Dollars = Annotated[float, option("--usd", "USD", "What it cost; 0 if it was not billed.")]
Apply = Annotated[
    bool, flag("--apply", "Settle the calls of unknown outcome by what the log says.")
]


def reconcile(
    files: Files,
    *,
    prices: PricesFile = None,
    since: Since = "52w",
    until: Until = None,
    apply: Apply = False,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """List what the book of calls and AWS's own bill differ in. The exit code is 1 if they do."""
    from forebay.producers.cli.money.files import bill_files

    named, settled = bill_files.bill_files(files), list[str]()
    if bill_files.sort_of(named) == "costs":
        if apply:
            hint = "needs an invocation log: a cost report does not name calls"
            raise typer.BadParameter(hint, param_hint="--apply")
        found = _against_costs(named, account, calls_of_fleets(since, until, None, None))
    else:
        if account is not None:
            hint = "is for cost reports: a log of Bedrock is of one account"
            raise typer.BadParameter(hint, param_hint="--account")
        listed, logged = read_prices(prices), bill_files.invocations(named)
        if apply:
            settled = _settled(logged, listed, since, until)
        found = _against_log(logged, listed, calls_of_fleets(since, until, None, None))
    _print_differences(found, settled, as_json=as_json)
    if found:
        raise typer.Exit(1)


def settle(call: CallId, *, usd: Dollars, as_json: Json = False) -> None:
    """Book the cost of a call of unknown outcome by hand.

    `forebay spend list` shows such calls as open.
    """
    from forebay.routing.base import NANO
    from forebay.routing.errors import InvalidJob
    from forebay.routing.limits.budget import MAX_NUSD, Budget

    nusd = usd * NANO
    if not 0 <= nusd <= MAX_NUSD:
        hint = f"must be from 0 to {MAX_NUSD // NANO:,} dollars"
        raise typer.BadParameter(hint, param_hint="--usd")
    for reader in open_readers().values():
        budget = Budget(reader.redis)
        found = budget.find(call)
        if found is None:
            continue
        bill = {"tokens": None, "stand_in": False}
        if found.state != "open" or budget.settle(call, round(nusd), bill=bill) != "closed":
            raise InvalidJob(f"is {found.state}: only an open call can be settled", field="CALL")
        if as_json:
            display.document({"settled": call, "usd": usd})
        else:
            display.note(f"call {call} of job {found.job_id} settled at ${usd:.9f}")
        return
    raise InvalidJob("is no call that is known: see `forebay spend list`", field="CALL")


def _against_costs(
    files: list[Path], account: str | None, calls: list[CallRecord]
) -> list[Difference]:
    from forebay.producers.cli.money.files.bill_files import cost_rows
    from forebay.routing.books.bills.cost_report import cost_report
    from forebay.routing.books.bills.reconcile import with_cost_report

    report = cost_report(cost_rows(files), str(files[0]), account)
    for note in report.notes():
        display.note(note)
    return list(with_cost_report(calls, report.nusd))


def _against_log(
    logged: list[Invocation], prices: Prices, calls: list[CallRecord]
) -> list[Difference]:
    from forebay.routing.books.bills.price_lists import PriceLists
    from forebay.routing.books.bills.reconcile import with_invocations

    lists = {
        version: each
        for reader in open_readers().values()
        for version, each in PriceLists(reader.redis).all().items()
    }
    return list(with_invocations(calls, logged, prices, lists))


def _settled(logged: list[Invocation], prices: Prices, since: str, until: str | None) -> list[str]:
    """Settle calls by the log, each in the fleet that made it; return their ids."""
    from forebay.routing.books.bills.price_lists import PriceLists
    from forebay.routing.books.bills.reconcile import settle_known
    from forebay.routing.limits.budget import Budget

    return [
        call.id
        for reader in open_readers().values()
        for call in settle_known(
            Budget(reader.redis),
            calls_of_fleet(reader, since, until),
            logged,
            prices,
            PriceLists(reader.redis).all(),
        )
    ]


def _print_differences(found: list[Difference], settled: list[str], *, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        display.document({"differences": [asdict(one) for one in found], "settled": settled})
        return
    if found:
        rows = [
            (one.what, one.about, _dollars(one.booked_nusd), _dollars(one.billed_nusd), one.note)
            for one in found
        ]
        display.table(("WHAT", "CALL OR DAY", "BOOKED", "BILLED", "NOTE"), rows)
    if settled:
        display.note(f"{counted(len(settled), 'call')} of unknown outcome settled")
    display.note(f"{len(found):,} differences" if found else "the book and the bill agree")


def _dollars(nusd: int | None) -> str:
    return "unknown" if nusd is None else f"{nusd / 1e9:.9f}"
