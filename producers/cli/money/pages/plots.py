"""Plots as SVG that follows the page's colours, light or dark. Needs the extra `report`."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from forebay.routing.errors import Misconfigured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN, HEIGHT_IN = 7.6, 2.9
#: Colours that the page's style sheet replaces: text and axes, and one for each series.
INK, FAINT = "#010101", "#020202"
SERIES = ("#030303", "#040404", "#050505", "#060606")
_VARIABLES = {
    INK: "var(--ink)", FAINT: "var(--faint)",
    **{colour: f"var(--series{number})" for number, colour in enumerate(SERIES)},
}  # fmt: skip


def figure() -> tuple[Figure, Axes]:
    """Return an empty plot.

    Raises:
        Misconfigured: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError:
        hint = "plots need matplotlib: install the extra `report`"
        raise Misconfigured(hint, field="--html") from None
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "forebay", "font.size": 10})
    drawn = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
    axes = drawn.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, which="both")
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    axes.set_axisbelow(True)
    return drawn, axes


def svg(drawn: Figure, title: str) -> str:
    """Return a plot as an SVG element whose colours are the page's."""
    for axes in drawn.axes:
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(INK)
        if legend := axes.get_legend():
            for text in legend.get_texts():
                text.set_color(INK)
    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, variable)
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", drawing, count=1)
    return drawing.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


def stacked(
    labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str, title: str
) -> str:
    """Return bars over time, one part of each bar for each series."""
    drawn, axes = figure()
    bottom = [0.0] * len(labels)
    places = range(len(labels))
    for colour, (name, values) in zip(SERIES, series.items(), strict=False):
        axes.bar(places, values, bottom=bottom, color=colour, label=name, width=0.8)
        bottom = [below + value for below, value in zip(bottom, values, strict=True)]
    _times(axes, labels)
    axes.set_ylabel(unit)
    legend(axes, len(series))
    return svg(drawn, title)


def lines(
    labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str, title: str
) -> str:
    """Return one line over time for each series."""
    drawn, axes = figure()
    for colour, (name, values) in zip(SERIES, series.items(), strict=False):
        marker = "o" if len(values) == 1 else None
        axes.plot(range(len(labels)), values, color=colour, label=name, linewidth=2, marker=marker)
    _times(axes, labels)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(unit)
    legend(axes, len(series))
    return svg(drawn, title)


def _times(axes: Axes, labels: Sequence[str]) -> None:
    """Label about eight places of the time axis."""
    step = max(1, -(-len(labels) // 8))
    axes.set_xticks(range(0, len(labels), step), list(labels[::step]))
    axes.yaxis.set_major_formatter(short)


def legend(axes: Axes, columns: int) -> None:
    """Add a legend above the plot."""
    axes.legend(frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1))


def short(value: float, _: object = None) -> str:
    """Return a number on an axis: `15,000`, `2.5M`, `1.6B`."""
    for size, unit in ((1e9, "B"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:,.4g}{unit}"
    return f"{value:,.6g}"
