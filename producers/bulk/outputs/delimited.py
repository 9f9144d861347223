"""Writes rows as CSV or TSV with a header."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from forebay.producers.bulk.outputs.cells import as_cell, flat, flat_columns
from forebay.producers.bulk.outputs.durable_file import DurableFile
from forebay.producers.bulk.outputs.output import Output, ResultRow, Rows, each_of


class DelimitedOutput(Output):
    """One record a row. The answer is its label, its text, or its data as JSON.

    A text that a spreadsheet would run as a formula gets a `'` before it: JSON Lines has texts
    unchanged. Lists are JSON. Null is an empty cell.
    """

    def __init__(self, file: DurableFile, columns: Sequence[str], delimiter: str) -> None:
        super().__init__(file.path)
        self._file = file
        self._columns = flat_columns(columns)
        self._delimiter = delimiter

    def append(self, rows: Iterable[Rows]) -> int:
        """Append rows, and return the size in bytes that is on the disk."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\r\n")
        if not self._file.size:
            writer.writerow(self._columns)
        writer.writerows(self._cells(row) for row in each_of(rows))
        return self._file.append(text.getvalue().encode())

    def _cells(self, row: ResultRow) -> list[str]:
        if isinstance(row, StoredRecord):
            return row.cells
        return [as_cell(each) for each in flat(row, self._columns)]

    def finish(self) -> None:
        """Write the header if there are no rows, and close the file."""
        if not self._file.closed and not self._file.size:
            self.append(())
        self._file.finish()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StoredRecord(dict[str, Any]):
    """A row of a finished table: what its cells tell, and the cells as they are in the file."""

    def __init__(self, columns: Sequence[str], cells: list[str]) -> None:
        """Raise `ValueError` or `KeyError` if the cells are not those of a result."""
        told = dict(zip(columns, cells, strict=True))
        super().__init__(
            row=int(told["row"]), key=told["key"] or None, status=told["status"],
            lane=told["lane"] or None, degraded=json.loads(told["degraded"]),
            cost_usd=float(told["cost_usd"]), tokens_in=int(told["tokens_in"]),
            tokens_out=int(told["tokens_out"]), reasons=json.loads(told["reasons"]),
            error=told["error"] or None,
        )  # fmt: skip
        self.cells = cells


def stored_records(path: Path, delimiter: str) -> Iterator[StoredRecord]:
    """Yield the rows of a table of results. Raises `OSError`, `ValueError` or `KeyError`."""
    with path.open(newline="", encoding="utf-8") as file:
        records = csv.reader(file, delimiter=delimiter)
        columns = next(records, [])
        if "row" not in columns:
            raise ValueError("not a table of results")
        for cells in records:
            yield StoredRecord(columns, cells)
