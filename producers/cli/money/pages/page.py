"""A report as one HTML page: no script, nothing loaded, light and dark, made to be printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2733; --faint: #c3ccd6;
  --card: #f4f7fa; --series0: #2a6f97; --series1: #e07a3f; --series2: #9aa5b1; --series3: #7d5ba6; }
@media (prefers-color-scheme: dark) { :root { --paper: #11161c; --ink: #e3e9ef; --faint: #3d4854;
  --card: #1a212a;
  --series0: #5fb0dd; --series1: #f2a06d; --series2: #7c8894; --series3: #b295d8; } }
@media print { :root { --paper: #ffffff; --ink: #000000; --faint: #bbbbbb; --card: #ffffff;
  --series0: #2a6f97; --series1: #e07a3f; --series2: #9aa5b1; --series3: #7d5ba6; }
  figure, tr, .cards, .plot { break-inside: avoid; } h2, thead { break-after: avoid; }
  body { margin: 0; max-width: none; padding: 0; font-size: 12px; } .scroll { overflow: visible; } }
@page { margin: 15mm; }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem;
  margin: 1.2rem 0; }
.card { background: var(--card); border: 1px solid var(--faint); border-radius: .5rem;
  padding: .7rem .9rem; }
.card b { display: block; font-size: 1.4rem; } .card span { font-size: .85rem; }
figure { margin: 0; overflow-x: auto; }
figure svg { width: 100%; min-width: 32rem; height: auto; font-family: inherit; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 6.5rem; }
td.words, th.words { text-align: left; min-width: 9rem; }
tfoot td { font-weight: 600; border-top: 2px solid var(--ink); border-bottom: 0; }
ul { padding-left: 1.2rem; font-size: .9rem; } footer { font-size: .85rem; margin: 2rem 0 1rem; }
"""


def document(title: str, subtitle: str, parts: Sequence[str]) -> str:
    """Return the whole page. The parts are HTML; title and subtitle are text."""
    head = f"<h1>{escape(title)}</h1><p>{escape(subtitle)}</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><header>{head}</header><main>{''.join(parts)}</main></body></html>\n"
    )


def cards(figures: Mapping[str, str]) -> str:
    """Return the figures that matter most, each under what it says."""
    inner = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in figures.items()
    )
    return f'<div class="cards">{inner}</div>'


def plot(heading: str, svg: str) -> str:
    """Return a plot under its heading."""
    return f'<section class="plot"><h2>{escape(heading)}</h2><figure>{svg}</figure></section>'


def table(
    heading: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    total: Sequence[str] = (),
    words: Sequence[str] = (),
) -> str:
    """Return a table under its heading; nothing if it has no rows.

    `total` is its last row; `words` names the columns that hold words, as the first one does.
    """
    if not rows:
        return ""
    kinds = ["words" if name in words else "" for name in header]
    body = "".join(_row("td", row, kinds) for row in rows)
    foot = f"<tfoot>{_row('td', total, kinds)}</tfoot>" if total else ""
    head = f"<thead>{_row('th', header, kinds)}</thead>"
    inner = f"<table>{head}<tbody>{body}</tbody>{foot}</table>"
    return f'<section><h2>{escape(heading)}</h2><div class="scroll">{inner}</div></section>'


def notes(heading: str, lines: Sequence[str]) -> str:
    """Return a list of sentences under its heading; nothing if there are none."""
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>{escape(heading)}</h2><ul>{items}</ul></section>"


def _row(tag: str, cells: Sequence[str], kinds: Sequence[str]) -> str:
    return f"<tr>{''.join(_cells(tag, cells, kinds))}</tr>"


def _cells(tag: str, cells: Sequence[str], kinds: Sequence[str]) -> Iterator[str]:
    for cell, kind in zip(cells, kinds, strict=True):
        named = f' class="{kind}"' if kind else ""
        yield f"<{tag}{named}>{escape(cell)}</{tag}>"
