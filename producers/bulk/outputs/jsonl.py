"""Writes rows as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic_core import to_json

from forebay.producers.bulk.outputs.durable_file import DurableFile
from forebay.producers.bulk.outputs.output import JsonLines, Output, Rows


class JsonlOutput(Output):
    """One JSON object a line, with the columns in their order. A NaN is written as null."""

    def __init__(self, file: DurableFile, columns: Sequence[str]) -> None:
        super().__init__(file.path)
        self._file = file
        self._columns = tuple(columns)

    def append(self, rows: Iterable[Rows]) -> int:
        """Append rows, and return the size in bytes that is on the disk."""
        return self._file.append(b"".join([self._line(row) for row in rows]))

    def _line(self, row: Rows) -> bytes:
        """Return a row as a line, with exactly the columns, in their order."""
        if isinstance(row, JsonLines):
            return row.data
        if tuple(row) != self._columns:
            row = {name: row.get(name) for name in self._columns}
        return to_json(row, inf_nan_mode="null") + b"\n"

    def finish(self) -> None:
        """Close the file; it has its final form at any time."""
        self._file.finish()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
