"""The report of `make demo`: where each job went and why, what was asked, answered and caught."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from forebay.routing.base import NANO
from forebay.routing.reasons import meaning

LOG_WIDTH = 165  # characters, if there is no terminal and no COLUMNS: the log of a CI
#: The least width of the terminal at which each column is shown.
COLUMNS = {
    "job": 0, "kind": 110, "egress": 0, "lane": 0, "why": 0, "model": 150, "tokens": 130,
    "cost $": 95, "s": 90,
}  # fmt: skip
COLUMN_STYLES: dict[str, dict[str, Any]] = {
    "job": {"no_wrap": True},
    "lane": {"no_wrap": True},
    "model": {"no_wrap": True, "max_width": 26},
    "tokens": {"justify": "right"},
    "cost $": {"justify": "right"},
    "s": {"justify": "right"},
}
#: Words added to the lane of a row whose field is true.
MARKS = {"mock": "stand_in", "degraded": "degraded"}
#: Beginnings of the reasons of a local answer that the checks refused.
CATCHES = ("check_failed", "low_probability", "no_answer")


def make_console() -> Console:
    """Return a console as wide as the terminal, also if the output goes into a pipe."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    known = os.environ.get("COLUMNS") or any(stream.isatty() for stream in streams)
    return Console(width=None if known else LOG_WIDTH)


def show(console: Console, rows: list[dict[str, Any]], seconds: float) -> None:
    """Print the tables and the summary of a run that took so many seconds."""
    table = Table(title="Every job, where it was answered, and why", title_justify="left")
    shown = [name for name, min_width in COLUMNS.items() if console.width >= min_width]
    for name in shown:
        table.add_column(name, **COLUMN_STYLES.get(name, {"overflow": "fold"}))
    for row in rows:
        cells = _cells(row)
        table.add_row(*(cells[name] for name in shown), style=_style(row))
    console.print(table)
    console.print(_meanings(rows), "")
    console.print(_texts(rows), "")
    for caught in _catches(rows):
        console.print(caught, no_wrap=True, overflow="ellipsis")
    for line in _summary(rows):
        console.print(line, markup=False, highlight=False)
    console.print(
        f"\n{len(rows)} jobs in {seconds:.0f} s, including the start and stop of the fleet."
        "\nTo keep a fleet running: make up (prints Flower's address); make down stops it.",
        markup=False,
        highlight=False,
    )


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """Return the text of each of `COLUMNS` in one row."""
    marks = [word for word, field in MARKS.items() if row[field]]
    return {
        "job": row["name"],
        "kind": row["kind"],
        "egress": row["egress"],
        "lane": ", ".join([row["lane"] or row["status"], *marks]),
        "why": " > ".join(_told(row)),
        "model": row["model"] or "-",
        "tokens": f"{row['tokens_in']} + {row['tokens_out']}",
        "cost $": f"{row['cost_usd']:.6f}" if row["cost_usd"] else "0",
        "s": f"{row['seconds']:.1f}",
    }


def _meanings(rows: list[dict[str, Any]]) -> Table:
    """Return what the reasons of the rows mean, in the order of their first use."""
    codes = dict.fromkeys(reason.split(":")[0] for row in rows for reason in _told(row))
    table = Table.grid(padding=(0, 2))
    for code in codes:
        table.add_row(code, meaning(code), style="dim")
    return table


def _told(row: dict[str, Any]) -> list[str]:
    """Return the reasons of a row, without the one that only says that no router was asked."""
    return [reason for reason in row["reasons"] if reason != "routed_at_submit"]


def _style(row: dict[str, Any]) -> str:
    if row["status"] != "done":
        return "red"
    if row["degraded"]:
        return "yellow"
    return "cyan" if row["lane"] == "bedrock" else ""


def _summary(rows: list[dict[str, Any]]) -> list[str]:
    done = [row for row in rows if row["status"] == "done"]
    local = [row for row in done if row["lane"] == "local"]
    bedrock = [row for row in done if row["lane"] == "bedrock"]
    caught = [row for row in rows if was_caught(row)]
    degraded = [row for row in local if row["degraded"]]
    denied = [row for row in rows if row["egress"] == "deny"]
    cost = sum(round(row["cost_usd"] * NANO) for row in rows) / NANO
    out = sum(row["tokens_out"] for row in local)
    split = (
        f"Split: {len(local)} local, for free ({out} tokens written here), {len(bedrock)} bedrock"
        f" for ${cost:.6f} at list prices (answered by the mock: nothing was paid)."
    )
    checked = (
        f"Caught: the checks refused {len(caught)} local answers; "
        f"{sum(row['lane'] == 'bedrock' for row in caught)} of those went up to bedrock, "
        f"{len(degraded)} may not leave and were returned as degraded, "
        f"{sum(row['status'] != 'done' for row in rows)} failed instead of giving a wrong answer."
    )
    egress = (
        f"Egress: {len(denied)} jobs said deny; "
        f"{sum(row['lane'] == 'bedrock' for row in denied)} of them were answered on bedrock."
    )
    return ["", split, checked, egress]


def was_caught(row: dict[str, Any]) -> bool:
    """Return True if the checks refused the local answer of a row."""
    return any(_is_catch(reason) for reason in row["reasons"])


def _is_catch(reason: str) -> bool:
    return reason.startswith(CATCHES)


def _texts(rows: list[dict[str, Any]]) -> Table:
    """Return a table of questions and answers, each cut to the width."""
    title = "What was asked, and what was answered"
    table = Table(title=title, title_justify="left", expand=True)
    table.add_column("job", no_wrap=True)
    for name in ("asked", "answered"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        table.add_row(row["name"], _line(row["asked"]), _line(row["answered"]), style=_style(row))
    return table


def _catches(rows: list[dict[str, Any]]) -> Iterator[Text]:
    """Yield what the checks refused, beside what came back instead and what is right."""
    yield Text("What the checks caught: the local answer, and what is right", style="italic")
    for row in filter(was_caught, rows):
        checks = [reason.split(":")[-1] for reason in row["reasons"] if _is_catch(reason)]
        end = "went up" if row["lane"] == "bedrock" else row["status"]
        end = "returned as degraded, since it may not leave" if row["degraded"] else end
        yield Text(f"{row['name']}: refused by {', '.join(checks)}; {end}", style=_style(row))
        yield _labelled("refused", row["refused"] or "-")
        if not row["degraded"]:
            yield _labelled(row["lane"] or row["status"], row["answered"])
        if row["reference"] is not None and _plain(row["reference"]) != row["answered"]:
            yield _labelled("right", _plain(row["reference"]))


def _labelled(label: str, text: str) -> Text:
    return Text(f"  {label:9}") + _line(text)


def _line(text: str) -> Text:
    """Return a text as one line without control characters; the table cuts it to its width."""
    return Text("".join(char if char.isprintable() else " " for char in " ".join(text.split())))


def _plain(reference: Any) -> str:
    is_text = isinstance(reference, str)
    return reference if is_text else json.dumps(reference, ensure_ascii=False)
