# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The command `forebay report`: jobs, tokens and dollars, and what the local lane saved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from forebay.producers.cli import display
from forebay.producers.cli.money.options import PricesFile, Tenant
from forebay.producers.cli.money.report_figures import TOP, cells, document, header, headlines
from forebay.producers.cli.operator.readers import open_readers
from forebay.producers.cli.operator.spans import Since, Until, between
from forebay.routing.terminal.options import Json, option, ungrouped

if TYPE_CHECKING:
    from forebay.routing.books.targets.targets import Target
    from forebay.routing.books.usage_report import UsageReport

Grouping = Annotated[
    str, option("--by", "lane|kind|tenant|model|day", "What the rows of the table are.")
]
Html = Annotated[
    Path | None, option("--html", "FILE", "Also write one self-contained page, with plots.")
]
Frontier = Annotated[
    str | None,
    option(
        "--frontier",
        "MODEL",
        "The model by whose price savings are computed. Default: the policy's first model.",
    ),
]

app = ungrouped()


@app.command()
def report(
    *,
    since: Since = "7d",
    until: Until = None,
    tenant: Tenant = None,
    by: Grouping = "lane",
    frontier: Frontier = None,
    prices: PricesFile = None,
    html: Html = None,
    as_json: Json = False,
) -> None:
    """Report jobs, tokens and dollars, and what the local lane saved."""
    found, reached = _report(between(since, until), tenant, by, frontier, prices)
    if html is not None:
        from forebay.producers.cli.money.files.tables import replace_file
        from forebay.producers.cli.money.pages.report_page import page

        replace_file(html, page(found, reached, tenant).encode(), "--html")
    if as_json:
        display.document(document(found, reached))
        return
    rows = [(name, *cells(found, sums)) for name, sums in sorted(found.groups.items())]
    if rows:
        total = ("total", *cells(found, found.total))
        display.table((by.upper(), *header(found)), [*rows, total])
    elif tenant:
        display.note(f"no job of a tenant {tenant} in this time: is the name right?")
    for name, value in (*headlines(found).items(), *_rankings(found)):
        display.text(f"{name:32}  {value}")
    for line in (line for target in reached for line in target.lines()):
        display.text(line)
    for assumption in found.assumptions():
        display.note(assumption)


def _rankings(found: UsageReport) -> Iterator[tuple[str, str]]:
    """Yield why jobs went up and which checks failed, the most frequent first."""
    for name, counts in (("went up because", found.reasons), ("answers failed", found.checks)):
        if counts:
            ranked = (f"{code} {number:,}" for code, number in counts.most_common(TOP))
            yield name, ", ".join(ranked)


def _report(
    span: tuple[float, float],
    tenant: str | None,
    by: str,
    frontier: str | None,
    prices: Path | None,
) -> tuple[UsageReport, list[Target]]:
    from forebay.producers.cli.money.books import read_prices
    from forebay.routing.books.call_book import CallBook
    from forebay.routing.books.job_book import JobBook
    from forebay.routing.books.targets.targets import targets
    from forebay.routing.books.usage_report import By, usage_report
    from forebay.routing.overview.all_jobs import for_operators
    from forebay.routing.policy.policy_file import Policy

    grouping = next((name for name in get_args(By) if name == by), None)
    if grouping is None:
        raise typer.BadParameter(f"must be {', '.join(get_args(By))}", param_hint="--by")
    readers = list(open_readers().values())
    reader = readers[0]
    policy = Policy.load(reader.settings.policy_file)
    models = policy.models(tenant or "")
    if frontier is None and not models:
        raise typer.BadParameter("is needed: the policy names no model", param_hint="--frontier")
    model = policy.base_model(frontier or models[0])
    with for_operators():
        start_ms, end_ms = int(span[0] * 1_000), int(span[1] * 1_000)
        calls = [call for one in readers for call in CallBook(one.redis).calls(start_ms, end_ms)]
        counts = chain(*(JobBook(one.redis).read(*span) for one in readers))
        found = usage_report(
            counts, calls, read_prices(prices), model, span, by=grouping, tenant=tenant
        )
        gaps = (CallBook(one.redis).gap_ms(start_ms) for one in readers)
        found.calls_from_s = max(gaps, default=0) / 1_000
        return found, targets([one.redis for one in readers], policy, found)
