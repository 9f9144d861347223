"""The report as a page with plots: the split over time, and what was paid and saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate

from forebay.producers.cli.money.pages import page as html
from forebay.producers.cli.money.pages import plots
from forebay.producers.cli.money.report_figures import TOP, cells, header, headlines
from forebay.routing.books.targets.targets import Target
from forebay.routing.books.usage_report import MOCK, NO_ANSWER, Sums, UsageReport
from forebay.routing.overview.percentage import percentage
from forebay.routing.reasons import meaning

LANES = ("local", "bedrock", NO_ANSWER, MOCK)
DAY_S = 86_400


def page(found: UsageReport, targets: Sequence[Target], tenant: str | None) -> str:
    """Return the page.

    Raises:
        Misconfigured: matplotlib is not installed.
    """
    jobs, local = (
        found.total.jobs,
        sum(lanes["local"].jobs for lanes in found.over_time.values() if "local" in lanes),
    )
    figures = {"jobs": f"{jobs:,}"}
    if jobs:
        figures["answered in the building"] = percentage(local / jobs, 1)
    rows = [(name, *cells(found, sums)) for name, sums in sorted(found.groups.items())]
    heads = tuple(name.capitalize() for name in (found.by, *header(found)))
    return html.document(
        "Forebay report",
        f"{_minute(found.since_s)} to {_minute(found.until_s)}, UTC"
        + (f", tenant {tenant}" if tenant else ", all tenants"),
        [
            html.cards(figures | headlines(found)),
            *_plots(found),
            html.table(f"By {found.by}", heads, rows, total=("total", *cells(found, found.total))),
            *_targets(targets),
            html.table(
                "Why jobs went up",
                ("Reason", "Meaning", "Jobs", "Share"),
                [(code, meaning(code), *rest) for code, *rest in _ranked(found.reasons)],
                words=("Meaning",),
            ),
            html.table(
                "Checks that answers failed", ("Check", "Answers", "Share"), _ranked(found.checks)
            ),
            html.notes("What the savings rest on", found.assumptions()),
        ],
    )


def time_labels(starts: Sequence[int], step_s: int) -> list[str]:
    """Return the labels of hours or days; an hour has its day below it, so that labels fit."""
    form = "%H:%M\n%d %b" if step_s < DAY_S else "%d %b"
    return [datetime.fromtimestamp(start, UTC).strftime(form) for start in starts]


def _plots(found: UsageReport) -> list[str]:
    """Return the split by jobs and by tokens over time, and the dollars, added up over time."""
    starts = _starts(found)
    if not starts:
        return []
    labels = time_labels(starts, found.step_s)
    lanes = [name for name in LANES if any(name in found.over_time[start] for start in starts)]

    def series(name: str) -> list[Sums]:
        return [found.over_time[start].get(name, Sums()) for start in starts]

    split = {name: [float(sums.jobs) for sums in series(name)] for name in lanes}
    tokens = {
        name: [float(sums.tokens_in + sums.tokens_out) for sums in series(name)] for name in lanes
    }
    paid = [sum(s.nusd for s in found.over_time[start].values()) / 1e9 for start in starts]
    saved = [sum(s.saved_nusd for s in found.over_time[start].values()) / 1e9 for start in starts]
    money = {
        "all on the frontier": list(accumulate(a + b for a, b in zip(paid, saved, strict=True))),
        "paid for answers": list(accumulate(paid)),
    }
    return [
        html.plot("Jobs by lane", plots.stacked(labels, split, "jobs", "Jobs by lane over time")),
        html.plot(
            "Tokens by lane", plots.stacked(labels, tokens, "tokens", "Tokens by lane over time")
        ),
        html.plot("Dollars, added up", plots.lines(labels, money, "dollars", "Dollars over time")),
    ]


def _starts(found: UsageReport) -> Sequence[int]:
    """Return every hour or day from the first that has jobs to the last, without gaps."""
    if not found.over_time:
        return []
    return range(min(found.over_time), max(found.over_time) + 1, found.step_s)


def _targets(targets: Sequence[Target]) -> Iterator[str]:
    """Yield the targets beside what was reached, and what kept them from being reached."""
    rows = [
        (
            target.tenant, target.goal, _percent(target.paced.share), f"{target.paced.jobs:,}",
            "; ".join(target.why()) or "reached",
        )
        for target in targets
    ]  # fmt: skip
    heads = ("Tenant", "Target", "Went up", "Of jobs", "Outcome")
    yield html.table("Targets", heads, rows, words=("Target", "Outcome"))


def _ranked(counts: dict[str, int]) -> list[tuple[str, str, str]]:
    ranked, total = (
        sorted(counts.items(), key=lambda item: (-item[1], item[0])),
        sum(counts.values()),
    )
    return [(code, f"{number:,}", _percent(number / total)) for code, number in ranked[:TOP]]


def _percent(share: float | None) -> str:
    return "none" if share is None else percentage(share, 1)


def _minute(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M")
