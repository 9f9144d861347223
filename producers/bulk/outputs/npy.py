"""Writes embeddings as a NumPy array, in the order of the rows of the input."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import nan
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json, to_json

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.outputs.durable_file import exists
from forebay.producers.bulk.outputs.output import Rows, each_of
from forebay.producers.bulk.outputs.spooled import (
    ONE_VECTOR,
    UNFINISHED,
    SpooledOutput,
    make_durable,
    packed_vector,
    unpacked_vector,
)
from forebay.routing.errors import InvalidJob

#: The size of the header, which NumPy's format pads with spaces.
HEADER_BYTES = 128

#: The end of the name of the file with all else that is known of the rows.
ROWS = ".jsonl"

_SHAPE = re.compile(rb"'descr': '<f4', .*'shape': \((\d+), (\d+)\)")


class NpyOutput(SpooledOutput):
    """A matrix of 32-bit numbers: the vector of row `n` is at index `n - 1`.

    A row without an answer is NaN throughout. All else that is known of the rows (key, status,
    error and so on) goes to `<path>.jsonl`.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], *, resume_at: int | None, overwrite: bool
    ) -> None:
        self.rows_path = path.with_name(path.name + ROWS)
        if resume_at is None and not overwrite and self.rows_path.exists():
            raise exists(self.rows_path)
        super().__init__(path, columns, resume_at=resume_at, overwrite=overwrite)
        self._dimensions: int | None = None

    def append(self, rows: Iterable[Rows]) -> int:
        """Append rows to the spool; each must have one vector, as long as those before it."""
        each = list(each_of(rows))
        for row in each:
            answer = row.get("answer")
            if isinstance(answer, Mapping) and "vectors" in answer:
                self._check(row.get("row"), answer["vectors"])
        return super().append(each)

    def _check(self, row: Any, vectors: Sequence[Any]) -> None:
        """Raise `InvalidJob` if a row's vectors do not fit into the matrix."""
        if self._dimensions is None:
            earlier = (row for row in self.spooled_rows() if _vector(row))
            self._dimensions = len(_vector(next(earlier, {}))) // 4 or len(vectors[0])
        if len(vectors) != 1:
            wrong = f"row {row} has {len(vectors)} vectors, but an array has one for each row"
        elif len(vectors[0]) != self._dimensions:
            sizes = f"{len(vectors[0])} numbers, those before it have {self._dimensions}"
            wrong = f"the vector of row {row} has {sizes}"
        else:
            return
        raise InvalidJob(f"{wrong}: write .parquet or .jsonl", field=shown(self.path))

    def convert(self, new: Path) -> None:
        """Write the vectors of the spool to their places, and the rest of the rows beside them."""
        rows_path = self._new_rows_path()
        with new.open("wb") as matrix, rows_path.open("wb") as rest:
            _Matrix(matrix).fill(_written(self.spooled_rows(), rest))
        make_durable(new)
        make_durable(rows_path)

    def publish(self, new: Path) -> None:
        """Give both files their names."""
        self._new_rows_path().replace(self.rows_path)
        super().publish(new)

    def finish(self) -> None:
        """Make the two files of the spool, and remove the spool."""
        try:
            super().finish()
        finally:
            with suppress(OSError):
                self._new_rows_path().unlink(missing_ok=True)

    def replace(self, path: Path) -> None:
        """Give both files the places of others."""
        self.path.replace(path)
        self.rows_path.replace(path.with_name(path.name + ROWS))

    def _new_rows_path(self) -> Path:
        return self.rows_path.with_name(self.rows_path.name + UNFINISHED)


def _written(rows: Iterable[dict[str, Any]], rest: BinaryIO) -> Iterable[tuple[int, bytes]]:
    """Write each row without its vector; yield its number, and the bytes of its vector if any."""
    for row in rows:
        vector = _vector(row)
        row.pop("answer", None)
        rest.write(to_json(row) + b"\n")
        yield row["row"], vector


def stored_vectors(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a finished matrix and of the file beside it.

    Raises `OSError`, `ValueError` or `KeyError`.
    """
    with path.open("rb") as matrix, path.with_name(path.name + ROWS).open("rb") as rest:
        count, width = _shape(matrix.read(HEADER_BYTES))
        for line in rest:
            row = from_json(line)
            at = HEADER_BYTES + (row["row"] - 1) * width
            answered = row["status"] == "done" and row["row"] <= count
            data = os.pread(matrix.fileno(), width, at) if answered else b""
            vector = unpacked_vector(b64encode(data).decode())
            yield {**row, "answer": {"vectors": [vector]} if data else None}


def _shape(header: bytes) -> tuple[int, int]:
    """Return how many vectors a matrix has, and the bytes of each, from the header of its file."""
    found = _SHAPE.search(header)
    if not found:
        raise ValueError("not a matrix of this program")
    return int(found[1]), 4 * int(found[2])


def _vector(row: dict[str, Any]) -> bytes:
    """Return the bytes of a row's vector; none if there is no vector."""
    answer = row.get("answer")
    if not isinstance(answer, dict) or ONE_VECTOR not in answer:
        return b""
    return unpacked_vector(answer[ONE_VECTOR]).tobytes()


class _Matrix:
    """A file in NumPy's format that is filled in any order."""

    def __init__(self, file: BinaryIO) -> None:
        self._fd = file.fileno()
        self._width = 0  # bytes of a vector
        self._count = 0
        self._filled = bytearray()  # one bit a row

    def fill(self, vectors: Iterable[tuple[int, bytes]]) -> None:
        """Write vectors to the places of their rows, NaN to all others, and the header."""
        for row, vector in vectors:
            self._count = max(self._count, row)
            if vector:
                self._width = len(vector)
                self._write(row, vector)
        self._fill_gaps()
        os.pwrite(self._fd, self._header(), 0)

    def _write(self, row: int, vector: bytes) -> None:
        os.pwrite(self._fd, vector, HEADER_BYTES + (row - 1) * self._width)
        byte, bit = divmod(row - 1, 8)
        if byte >= len(self._filled):
            self._filled.extend(bytes(byte + 1 - len(self._filled)))
        self._filled[byte] |= 1 << bit

    def _fill_gaps(self) -> None:
        empty = packed_nan(self._width // 4)
        self._filled.extend(bytes(self._count // 8 + 1 - len(self._filled)))
        for index in range(self._count if self._width else 0):
            if not self._filled[index // 8] >> index % 8 & 1:
                os.pwrite(self._fd, empty, HEADER_BYTES + index * self._width)

    def _header(self) -> bytes:
        shape = (self._count, self._width // 4)
        fields = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
        length = HEADER_BYTES - 10
        text = fields.ljust(length - 1) + "\n"
        return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.encode()


def packed_nan(count: int) -> bytes:
    """Return a vector of so many NaNs, as it is in the file."""
    return unpacked_vector(packed_vector([nan] * count)).tobytes()
