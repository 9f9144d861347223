# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The commands `forebay spend …`: what each call to a frontier model cost."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.money import tables
from forebay.producers.cli.money.options import (
    Model,
    Out,
    PricesFile,
    Since,
    Tenant,
    Until,
    between,
)
from forebay.producers.cli.operator.jobs import open_reader
from forebay.producers.cli.options import Json, Limit

if TYPE_CHECKING:
    from forebay.routing.books.call_book import CallRecord
    from forebay.routing.books.reconcile import Difference
    from forebay.routing.limits.prices import Prices

HEADER = ("CALL", "AT", "JOB", "MODEL", "STATE", "IN", "OUT", "DOLLARS")
COLUMNS = (
    "entry", "id", "state", "job", "tenant", "purpose", "at", "model", "region", "tier",
    "tokens_in", "tokens_out", "cache_read", "cache_write_5m", "cache_write_1h", "prices",
    "reserved_nusd", "settled_nusd", "estimated", "mock",
)  # fmt: skip

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
    help="List, export, reprice or reconcile the calls to frontier models.",
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
        display.document({"calls": rows, "matched": len(calls), **_sums(calls)})
        return
    if newest:
        display.table(HEADER, [_cells(call) for call in newest])
    display.note(_summary(calls, len(newest)))


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
) -> None:
    """Write calls as CSV, Parquet or JSON, the oldest first: to a file, or to standard output."""
    chosen = tables.format_of(form, out)
    calls = _calls(since, until, tenant, model)
    if not append:
        tables.write([row(call) for call in calls], COLUMNS, chosen, out)
        display.note(f"{len(calls):,} calls written")
        return
    from forebay.producers.cli.money import appending

    if out is None:
        raise typer.BadParameter("is needed with --append", param_hint="--out")
    rows = [row(call) for call in calls if call.entry]
    added = appending.add(sorted(rows, key=_place), COLUMNS, chosen, out)
    display.note(f"{added:,} calls added")


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
    unpriced = 0
    for call in _calls(since, until, tenant, None):
        if call.state != "settled" or call.stand_in:
            continue
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
            budget = Budget(open_reader().redis)
            settled = reconcile.settle_known(budget, calls, logged, listed)
            calls = _calls(since, until, None, None)
        found = list(reconcile.with_invocations(calls, logged, listed))
    _print_differences(found, [call.id for call in settled], as_json=as_json)
    if found:
        raise typer.Exit(1)


def row(call: CallRecord) -> dict[str, Any]:
    """Return a call under `COLUMNS`."""
    tokens = call.tokens
    return {
        "entry": call.entry, "id": call.id, "state": call.state, "job": call.job,
        "tenant": call.tenant, "purpose": call.purpose, "at": iso(call.at_ms), "model": call.model,
        "region": call.region, "tier": call.tier,
        "tokens_in": tokens.input if tokens else None,
        "tokens_out": tokens.output if tokens else None,
        "cache_read": tokens.cache_read if tokens else None,
        "cache_write_5m": tokens.cache_write_5m if tokens else None,
        "cache_write_1h": tokens.cache_write_1h if tokens else None,
        "prices": call.prices, "reserved_nusd": call.reserved_nusd,
        "settled_nusd": call.settled_nusd, "estimated": call.estimated, "mock": call.stand_in,
    }  # fmt: skip


def iso(at_ms: int) -> str:
    """Return a time of the books as ISO 8601, UTC."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")


def read_prices(path: Path | None) -> Prices:
    """Return the price list of an option, of `FOREBAY_PRICES_FILE`, or the packaged list."""
    import os

    from forebay.routing.limits.prices import VARIABLE, Prices

    named = os.environ.get(VARIABLE)
    return Prices.load(path or (Path(named) if named else None))


def _calls(
    since: str, until: str | None, tenant: str | None, model: str | None
) -> list[CallRecord]:
    from forebay.routing.books.call_book import CallBook
    from forebay.routing.overview.all_jobs import for_operators

    start, end = between(since, until)
    with for_operators():
        calls = CallBook(open_reader().redis).calls(int(start * 1_000), int(end * 1_000))
    return [
        call for call in calls
        if tenant in {None, call.tenant} and model in {None, call.model}
    ]  # fmt: skip


def _repriced(call: CallRecord, prices: Prices) -> int | None:
    from forebay.routing.errors import NoPrice

    if call.tokens is None:
        return None
    try:
        tier: Any = call.tier or "default"
        return prices.cost(call.base or call.model, call.tokens, tier=tier)
    except NoPrice:
        return None


def _cells(call: CallRecord) -> tuple[str, ...]:
    tokens = call.tokens
    made = ("", "") if tokens is None else (f"{tokens.prompt:,}", f"{tokens.output:,}")
    cost = "" if call.state != "settled" else f"{call.settled_nusd / 1e9:.9f}"
    marks = " mock" if call.stand_in else " estimated" if call.estimated else ""
    return (call.id, iso(call.at_ms)[:19], call.job, call.model, call.state, *made, cost + marks)


def _sums(calls: list[CallRecord]) -> dict[str, Any]:
    """Return the dollars of these calls; those of the mock are no money and stand apart."""
    real = [call for call in calls if not call.stand_in]
    return {
        "settled_usd": sum(call.settled_nusd for call in real) / 1e9,
        "open_usd": sum(call.reserved_nusd for call in real if call.state == "open") / 1e9,
        "mock_usd": sum(call.settled_nusd for call in calls if call.stand_in) / 1e9,
    }


def _summary(calls: list[CallRecord], shown: int) -> str:
    sums = _sums(calls)
    line = f"{len(calls):,} calls, ${sums['settled_usd']:.6f} settled"
    if sums["open_usd"]:
        line += f", ${sums['open_usd']:.6f} reserved for calls without a known outcome"
    if sums["mock_usd"]:
        line += f"; the mock billed ${sums['mock_usd']:.6f}, which is no money"
    return line + (f"; the newest {shown:,} shown" if shown < len(calls) else "")


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
