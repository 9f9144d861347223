"""No content left or was logged that may not, and no process ended by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from books.diary import Entry
from books.finding import Finding, finding
from books.journal import Journal

DENY, OPEN = "DENYMARK", "OPENMARK"  # in each text: it must stay in the building, or may leave


def of_content(
    calls: Sequence[dict[str, Any]], logs: Iterable[Path], journal: Journal
) -> Iterator[Finding]:
    """Check that no denied content left, and that only contents' own keys hold content."""
    yield finding(
        "calls with what may not leave", (c["call_id"] for c in calls if DENY in c["text"])
    )
    marks = re.compile(f"{DENY}|{OPEN}")
    yield finding("logs with content", (log.name for log in logs if marks.search(log.read_text())))
    yield Finding("records or messages with content", journal.leaks)


def of_workers(entries: Sequence[Entry]) -> Finding:
    """Check that a worker only ends if killed, asked to, or without its engine at the start."""
    meant = {entry.pid for entry in entries if entry.what in {"killed", "died", "asked"}}
    began = {entry.pid for entry in entries if entry.what == "claim"}
    meant |= {entry.pid for entry in entries if entry.what == "engine"} - began
    return finding(
        "workers that ended by themselves",
        (f"{e.pid} with {e.about}" for e in entries if e.what == "ended" and e.pid not in meant),
    )
