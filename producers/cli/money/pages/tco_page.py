"""The cost of a machine beside the frontier's, as a page with a plot."""

from __future__ import annotations

from dataclasses import fields

from forebay.producers.cli.money.break_even import MILLION, BreakEven
from forebay.producers.cli.money.pages import page as html
from forebay.producers.cli.money.pages import plots
from forebay.producers.cli.money.tco_figures import rows

POINTS = 200
#: The plot ends at so many times the break-even, or at what the machine makes in a day.
BEYOND = 2.0


def page(found: BreakEven, against: str) -> str:
    """Return the page.

    Raises:
        Misconfigured: matplotlib is not installed.
    """
    machine = found.machine
    inputs = [
        (each.name.replace("_", " "), f"{getattr(machine, each.name):,g}")
        for each in fields(machine)
    ]
    return html.document(
        "A machine of your own beside the frontier",
        f"The frontier's price is that of {against}.",
        [
            html.cards(rows(found, against)),
            html.plot("Dollars a day", _plot(found)),
            html.table("What it was computed from", ("Input", "Value"), inputs),
            html.notes(
                "How",
                [
                    "The machine costs its price over its life, and its power day and night.",
                    "Past what one machine makes in a day, another one is bought.",
                    "The local answers are taken to be as good as the frontier's.",
                ],
            ),
        ],
    )


def _plot(found: BreakEven) -> str:
    """Draw dollars a day against tokens a day, here and there."""
    machine = found.machine
    end = max(min(found.tokens_per_day * BEYOND, 1e15), machine.tokens_per_day)
    tokens = [end * point / POINTS for point in range(POINTS + 1)]
    there = [each / MILLION * found.frontier_usd for each in tokens]
    here = [machine.usd_per_day * max(1, -(-each // machine.most_per_day)) for each in tokens]
    drawn, axes = plots.figure()
    axes.plot(tokens, here, color=plots.SERIES[0], linewidth=2, label="your own machine")
    axes.plot(tokens, there, color=plots.SERIES[1], linewidth=2, label="the frontier")
    if found.frontier_usd:
        axes.axvline(found.tokens_per_day, color=plots.INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel("tokens a day")
    axes.set_ylabel("dollars a day")
    axes.set_xlim(0, end)
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plots.short)
    plots.legend(axes, 2)
    return plots.svg(drawn, "Dollars a day against tokens a day")
