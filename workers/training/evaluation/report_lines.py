"""Writes the report of `forebay router eval` for people: what figures say, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

GAP_WORDS = """\
The share of the gap that is recovered: on average over all shares of jobs,
and if 10 % or 20 % of the jobs go up."""
SHARE_WORDS = "The share of jobs, in %, that must go up to recover 50 % or 80 % of the gap."
ERROR_WORDS = """\
auc: how often a wrong local answer ranks above a right one (0.5 is chance).
ece: how far probabilities are off (0 is perfect; chance alone makes it more)."""
#: The tables: what their figures say, the names of these, and their decimals.
TABLES = (
    (GAP_WORDS, ("apgr", "pgr10", "pgr20"), 3),
    (SHARE_WORDS, ("cpt50", "cpt80"), 2),
    (ERROR_WORDS, ("auc", "ece"), 3),
)
NAME_WIDTH, CELL_WIDTH = 15, 22


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines: the means, a table for each group of figures, and how to read them."""
    if report["n"] < report["total"]:
        yield f"evaluated on {report['n']} of {report['total']} prompts"
    yield f"n {report['n']}   weak {report['weak']}   strong {report['strong']}"
    for words, names, places in TABLES:
        yield from ("", words)
        yield _row("", names)
        for router, figures in report["routers"].items():
            if any(figures[name] is not None for name in names):
                yield _row(router, [_cell(figures, name, places) for name in names])
    yield ""
    yield "In brackets: 95 % bootstrap intervals. Chance reaches what random has; no"
    yield "ranking reaches more than oracle."


def _row(name: str, cells: tuple[str, ...] | list[str]) -> str:
    return f"{name:{NAME_WIDTH}}{''.join(f'{cell:{CELL_WIDTH}}' for cell in cells)}".rstrip()


def _cell(figures: Mapping[str, Any], name: str, places: int) -> str:
    value, ends = figures[name], figures["intervals"][name]
    if value is None:
        return "-"
    low_to_high = " to ".join(_figure(end, places) for end in ends) if ends else "no interval"
    return f"{_figure(value, places)} ({low_to_high})"


def _figure(value: float, places: int) -> str:
    """Return a figure in five characters or fewer, so that three cells fit a line."""
    text = f"{value:.{places - (value < 0 or value >= 1)}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text
