"""Writes rows as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic_core import to_json

from forebay.producers.bulk.outputs.durable_file import DurableFile
from forebay.producers.bulk.outputs.output import Output, ResultRow


class JsonlOutput(Output):
    """One JSON object a line, with the columns in their order. A NaN is written as null."""

    def __init__(self, file: DurableFile, columns: Sequence[str]) -> None:
        super().__init__(file.path)
        self._file = file
        self._columns = tuple(columns)

    def append(self, rows: Iterable[ResultRow]) -> int:
        """Append rows, and return the size in bytes that is on the disk."""
        return self._file.append(b"".join([_line(self._in_order(row)) for row in rows]))

    def _in_order(self, row: ResultRow) -> ResultRow:
        """Return the row with exactly the columns, in their order."""
        if tuple(row) == self._columns:
            return row
        return {name: row.get(name) for name in self._columns}

    def finish(self) -> None:
        """Close the file; it has its final form at any time."""
        self._file.finish()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(row: ResultRow) -> bytes:
    return to_json(row, inf_nan_mode="null") + b"\n"
