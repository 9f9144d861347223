# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The commands `forebay spend …`: what each call to a frontier model cost."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.money import tables
from forebay.producers.cli.money.call_rows import COLUMNS, HEADER, cells, row, summary, sums
from forebay.producers.cli.money.options import (
    Model,
    Out,
    PricesFile,
    Tenant,
)
from forebay.producers.cli.operator.readers import open_readers
from forebay.producers.cli.operator.spans import Since, Until, between
from forebay.producers.cli.options import Json, Limit

if TYPE_CHECKING:
    from forebay.routing.books.call_book import CallRecord
    from forebay.routing.books.reconcile import Difference
    from forebay.routing.ledger.reader import LedgerReader
    from forebay.routing.limits.prices import Prices

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="Bedrock's invocation log (JSON), or a Cost and Usage Report (CSV)."
    ),
]
Form = Annotated[
    str | None,
    typer.Option("--format", metavar="FORMAT", help="csv, parquet, json or jsonl."),
]
Append = Annotated[
    bool,
    typer.Option(
        "--append", help="Add the closed calls that the file lacks (.csv or .jsonl): for cron."
    ),
]
Apply = Annotated[
    bool,
    typer.Option("--apply", help="Settle the calls of unknown outcome by what the log says."),
]

app = typer.Typer(
    help="List, export, reprice or reconcile calls to the frontier.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None,
)  # fmt: skip


@app.command("list")
def print_list(
    *,
    since: Since = "1d",
    until: Until = None,
    tenant: Tenant = None,
    model: Model = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List calls, the newest first: tokens, price and state of each."""
    calls = _calls(since, until, tenant, model)
    newest = calls[::-1][:limit]
    if as_json:
        rows = [row(call) for call in newest]
        display.document({"calls": rows, "matched": len(calls), **sums(calls)})
        return
    if newest:
        display.table(HEADER, [cells(call) for call in newest])
    display.note(summary(calls, len(newest)))


@app.command()
def export(
    *,
    out: Out = None,
    form: Form = None,
    since: Since = "52w",
    until: Until = None,
    tenant: Tenant = None,
    model: Model = None,
    append: Append = False,
    as_json: Json = False,
) -> None:
    """Write calls as CSV, Parquet or JSON, the oldest first."""
    if append and out is None:
        raise typer.BadParameter("is needed with --append", param_hint="--out")
    chosen = tables.format_of(form or ("json" if as_json and out is None else None), out)
    calls = _calls(since, until, tenant, model)
    if append and out is not None:
        from forebay.producers.cli.money import appending

        rows = sorted((row(call) for call in calls if call.entry), key=_place)
        done = {"added": appending.add(rows, COLUMNS, chosen, out)}
    else:
        tables.write([row(call) for call in calls], COLUMNS, chosen, out)
        done = {"written": len(calls)}
    if as_json and out is not None:
        display.document(done)
    for verb, count in done.items():
        display.note(f"{count:,} calls {verb}")


@app.command()
def reprice(
    *,
    prices: PricesFile = None,
    since: Since = "30d",
    until: Until = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Say what the same calls would have cost by another price list. No book is changed."""
    listed, models = read_prices(prices), defaultdict[str, list[int]](lambda: [0, 0, 0])
    settled = [call for call in _calls(since, until, tenant, None) if call.state == "settled"]
    real = [call for call in settled if not call.stand_in]
    unpriced = 0
    for call in real:
        new = _repriced(call, listed)
        if new is None:
            unpriced += 1
            continue
        for at, amount in enumerate((1, call.settled_nusd, new)):
            models[call.model][at] += amount
    if as_json:
        found = {
            name: {"calls": n, "booked_usd": old / 1e9, "repriced_usd": new / 1e9}
            for name, (n, old, new) in models.items()
        }
        display.document({"prices": listed.version, "models": found, "unpriced": unpriced})
        return
    rows = [
        (name, f"{n:,}", f"{old / 1e9:.6f}", f"{new / 1e9:.6f}", f"{(new - old) / 1e9:+.6f}")
        for name, (n, old, new) in sorted(models.items())
    ]
    if rows:
        display.table(("MODEL", "CALLS", "BOOKED", f"BY {listed.version}", "CHANGE"), rows)
    display.note(f"{unpriced:,} calls could not be priced: no tokens, or no price")
    if mock := len(settled) - len(real):
        display.note(f"{mock:,} calls of the mock are left out: what it bills is no money")


@app.command()
def reconcile(
    file: File,
    *,
    prices: PricesFile = None,
    since: Since = "52w",
    until: Until = None,
    apply: Apply = False,
    as_json: Json = False,
) -> None:
    """List what the book of calls and AWS's own bill differ in. The exit code is 1 if they do."""
    from forebay.routing.books import invocations, reconcile
    from forebay.routing.limits.budget import Budget

    calls, settled = _calls(since, until, None, None), list[Any]()
    if invocations.is_cost_report(file):
        if apply:
            hint = "needs an invocation log: a cost report does not name calls"
            raise typer.BadParameter(hint, param_hint="--apply")
        found = list(reconcile.with_cost_report(calls, invocations.read_cost_report(file)))
    else:
        listed, logged = read_prices(prices), invocations.read_invocations(file)
        if apply:
            for reader in open_readers().values():  # a call is settled in the fleet that made it
                own, budget = _calls_of(reader, since, until), Budget(reader.redis)
                settled += reconcile.settle_known(budget, own, logged, listed)
            calls = _calls(since, until, None, None)
        found = list(reconcile.with_invocations(calls, logged, listed))
    _print_differences(found, [call.id for call in settled], as_json=as_json)
    if found:
        raise typer.Exit(1)


def read_prices(path: Path | None) -> Prices:
    """Return the price list of an option, of `FOREBAY_PRICES_FILE`, or the packaged list."""
    import os

    from forebay.routing.limits.prices import VARIABLE, Prices

    named = os.environ.get(VARIABLE)
    return Prices.load(path or (Path(named) if named else None))


def _calls(
    since: str, until: str | None, tenant: str | None, model: str | None
) -> list[CallRecord]:
    calls = [call for reader in open_readers().values() for call in _calls_of(reader, since, until)]
    calls.sort(key=lambda call: (call.at_ms, call.id))
    return [
        call for call in calls
        if tenant in {None, call.tenant} and model in {None, call.model}
    ]  # fmt: skip


def _calls_of(reader: LedgerReader, since: str, until: str | None) -> list[CallRecord]:
    from forebay.routing.books.call_book import CallBook
    from forebay.routing.overview.all_jobs import for_operators

    start, end = between(since, until)
    with for_operators():
        return CallBook(reader.redis).calls(int(start * 1_000), int(end * 1_000))


def _repriced(call: CallRecord, prices: Prices) -> int | None:
    from forebay.routing.errors import NoPrice

    if call.tokens is None:
        return None
    try:
        tier: Any = call.tier or "default"
        return prices.cost(call.base or call.model, call.tokens, tier=tier)
    except NoPrice:
        return None


def _place(one: tables.Row) -> tuple[int, int]:
    """Return what orders the entries of the book."""
    ms, _, number = str(one["entry"]).partition("-")
    return int(ms), int(number)


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
        display.note(f"{len(settled):,} calls of unknown outcome settled")
    display.note(f"{len(found):,} differences" if found else "the book and the bill agree")


def _dollars(nusd: int | None) -> str:
    return "unknown" if nusd is None else f"{nusd / 1e9:.9f}"
