"""Writes rows as CSV or TSV with a header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from forebay.producers.bulk.outputs.cells import as_cell, flat, flat_columns
from forebay.producers.bulk.outputs.durable_file import DurableFile
from forebay.producers.bulk.outputs.output import Output, ResultRow


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

    def append(self, rows: Iterable[ResultRow]) -> int:
        """Append rows, and return the size in bytes that is on the disk."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\r\n")
        if not self._file.size:
            writer.writerow(self._columns)
        writer.writerows([as_cell(each) for each in flat(row, self._columns)] for row in rows)
        return self._file.append(text.getvalue().encode())

    def finish(self) -> None:
        """Write the header if there are no rows, and close the file."""
        if not self._file.closed and not self._file.size:
            self.append(())
        self._file.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
