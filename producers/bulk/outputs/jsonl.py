"""Writes rows as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

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
        columns = self._columns
        return self._file.append(
            b"".join([_line({name: row.get(name) for name in columns}) for row in rows])
        )

    def finish(self) -> None:
        """Close the file; it has its final form at any time."""
        self._file.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(row: dict[str, Any]) -> bytes:
    return to_json(row, inf_nan_mode="null") + b"\n"
