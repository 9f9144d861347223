"""The journal: which blocks of rows were fed to the fleet, and which results are in the output.

Each line is a JSON list. `["fed", block, start, end]` is written before the rows of a block are put
on the ledger; `["done", block, out_size, bad_size, totals]` after its results are on the disk. A
line that a crash cut short is dropped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay.producers.bulk.outputs.durable_file import DurableFile
from forebay.producers.bulk.rows import START, Position


@dataclass(frozen=True, slots=True)
class FedBlock:
    """A block of rows that was read: the positions before and after its rows."""

    number: int
    start: Position
    end: Position


@dataclass
class Journal:
    """The journal of one bulk, as read at the start, and open to go on.

    Attributes:
        open_blocks: the blocks that were fed and whose results are not in the output, by number.
        next_block: the number of the next block that was never fed.
        next_start: where that block begins.
        out_size, bad_size: bytes of the outputs that count.
        totals: what became of the rows in the output, as counters.
    """

    file: DurableFile
    open_blocks: dict[int, FedBlock] = field(default_factory=dict)
    next_block: int = 0
    next_start: Position = START
    out_size: int = 0
    bad_size: int = 0
    totals: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open the journal of a bulk; a new one is made."""
        lines, size = _whole_lines(path)
        resume_at = size if path.exists() else None
        journal = cls(DurableFile(path, resume_at=resume_at))
        for line in lines:
            journal._replay(line)
        return journal

    @property
    def unanswered(self) -> int:
        """Rows that have no answer, or a degraded one since the budget was spent."""
        totals = self.totals
        return totals["rows"] - totals["rows_done"] + totals["bad"] + totals["rows_over_budget"]

    def fed(self, blocks: Iterable[FedBlock]) -> None:
        """Record blocks that are about to be put on the ledger."""
        lines = []
        for block in blocks:
            self._note_fed(block)
            lines.append(["fed", block.number, list(block.start), list(block.end)])
        self._write(lines)

    def done(
        self, blocks: Sequence[tuple[int, Mapping[str, int]]], out_size: int, bad_size: int
    ) -> None:
        """Record that the results of blocks are in the outputs, which have these sizes now."""
        lines = []
        for number, totals in blocks:
            self._note_done(number, out_size, bad_size, totals)
            lines.append(["done", number, out_size, bad_size, dict(totals)])
        self._write(lines)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _write(self, lines: Sequence[Any]) -> None:
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        if text:
            self.file.append(text.encode())

    def _replay(self, line: Any) -> None:
        match line:
            case ["fed", int(number), start, end]:
                self._note_fed(FedBlock(number, Position(*start), Position(*end)))
            case ["done", int(number), int(out_size), int(bad_size), dict(totals)]:
                self._note_done(number, out_size, bad_size, totals)

    def _note_fed(self, block: FedBlock) -> None:
        self.open_blocks[block.number] = block
        if block.number >= self.next_block:
            self.next_block, self.next_start = block.number + 1, block.end

    def _note_done(
        self, number: int, out_size: int, bad_size: int, totals: Mapping[str, int]
    ) -> None:
        self.open_blocks.pop(number, None)
        self.out_size, self.bad_size = out_size, bad_size
        self.totals.update(totals)


def _whole_lines(path: Path) -> tuple[list[Any], int]:
    """Return the lines of a journal up to the first that was cut short, and their size in bytes."""
    if not path.exists():
        return [], 0
    lines, size = [], 0
    with path.open("rb") as file:
        for raw in file:
            try:
                if not raw.endswith(b"\n"):
                    break
                lines.append(json.loads(raw))
            except ValueError:
                break
            size += len(raw)
    return lines, size
