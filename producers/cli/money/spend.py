# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The commands `forebay spend …`: what each call to a frontier model cost."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.money.books import calls_of_fleets, read_prices
from forebay.producers.cli.money.call_rows import COLUMNS, HEADER, cells, row, summary, sums
from forebay.producers.cli.money.files import tables
from forebay.producers.cli.money.options import Model, Out, PricesFile, Tenant
from forebay.producers.cli.money.reconcile import reconcile, settle
from forebay.producers.cli.operator.readers import settings_of_fleet
from forebay.producers.cli.operator.spans import Since, Until
from forebay.producers.cli.options import Limit
from forebay.routing.errors import counted
from forebay.routing.terminal.options import Json, flag, group, option

if TYPE_CHECKING:
    from forebay.routing.books.call_book import CallRecord
    from forebay.routing.limits.prices import Prices

Form = Annotated[str | None, option("--format", "FORMAT", "csv, parquet, json or jsonl.")]
Append = Annotated[
    bool, flag("--append", "Add the closed calls that the file lacks (.csv or .jsonl): for cron.")
]
app = group("List, export, reprice, reconcile or settle calls to a frontier.")


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
    calls = calls_of_fleets(since, until, tenant, model)
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
    calls = calls_of_fleets(since, until, tenant, model)
    if append and out is not None:
        from forebay.producers.cli.money.files import appending

        settings_of_fleet()  # the entries of several fleets have no order
        rows = sorted((row(call) for call in calls if call.entry), key=_place)
        done = {"added": appending.add(rows, COLUMNS, chosen, out)}
    else:
        tables.write([row(call) for call in calls], COLUMNS, chosen, out)
        done = {"written": len(calls)}
    if as_json and out is not None:
        display.document(done)
    for verb, count in done.items():
        display.note(f"{counted(count, 'call')} {verb}")


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
    settled = [
        call for call in calls_of_fleets(since, until, tenant, None) if call.state == "settled"
    ]
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
        display.note(f"{counted(mock, 'call')} of the mock left out: what it bills is no money")


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


app.command()(reconcile)
app.command()(settle)
