"""Writes rows as Parquet, with pyarrow (extra `parquet`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from forebay.producers.bulk.outputs.cells import as_text, flat, flat_columns
from forebay.producers.bulk.outputs.spooled import (
    ONE_VECTOR,
    VECTORS,
    SpooledOutput,
    make_durable,
    unpacked_vector,
)

#: A row group holds as many rows as there are in so many bytes of the spool, and no more rows.
GROUP_BYTES = 4 * 1024 * 1024
MAX_GROUP_ROWS = 10_000

#: How many rows of a finished file are read at once.
BATCH_ROWS = 1_024

_CHECK = pa.struct([("name", pa.string()), ("passed", pa.bool_()), ("note", pa.string())])

#: The type of each column; any other column is text.
_TYPES = {
    "row": pa.int64(), "line": pa.int64(), "probability": pa.float64(), "degraded": pa.bool_(),
    "cost_usd": pa.float64(), "tokens_in": pa.int64(), "tokens_out": pa.int64(),
    "checks": pa.list_(_CHECK), "reasons": pa.list_(pa.string()),
}  # fmt: skip


class ParquetOutput(SpooledOutput):
    """One row a row, with the answer as its label, its text, or its data as JSON.

    If there are embeddings, they are in a column `embedding`: lists of 32-bit numbers, or lists of
    such lists if any row has several vectors.
    """

    def convert(self, new: Path) -> None:
        """Write the rows of the spool to a new file, one row group after the other."""
        schema = self._schema()
        with new.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in self._groups():
                writer.write_batch(self._batch([from_json(line) for line in group], schema))
        make_durable(new)

    def _schema(self) -> pa.Schema:
        vector = self._vector_type()
        columns = [(name, _TYPES.get(name, pa.string())) for name in flat_columns(self._columns)]
        return pa.schema([*columns, *([("embedding", vector)] if vector else [])])

    def _vector_type(self) -> pa.DataType | None:
        """Return the type of the embeddings in the spool, or `None` if there are none."""
        one, several = f'{{"{ONE_VECTOR}":"'.encode(), f'{{"{VECTORS}":['.encode()
        found = None
        for line in self.spooled_lines():
            if several in line:
                return pa.list_(pa.list_(pa.float32()))
            if one in line:
                found = pa.list_(pa.float32())
        return found

    def _groups(self) -> Iterator[list[bytes]]:
        group: list[bytes] = []
        size = 0
        for line in self.spooled_lines():
            group.append(line)
            size += len(line)
            if size >= GROUP_BYTES or len(group) >= MAX_GROUP_ROWS:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _batch(self, rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
        embeddings = [_embedding(row) for row in rows]
        names = flat_columns(self._columns)
        columns = [list(column) for column in zip(*(flat(row, names) for row in rows), strict=True)]
        if "embedding" in schema.names:
            nested = pa.types.is_list(schema.field("embedding").type.value_type)
            columns.append([_as_type(each, nested=nested) for each in embeddings])
        return pa.record_batch(
            [_array(column, field) for column, field in zip(columns, schema, strict=True)],
            schema=schema,
        )


def stored_batches(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a finished file. Raises `OSError` or `ValueError`."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield from map(_stored, batch.to_pylist())


def _stored(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its answer as `ParquetOutput` takes it."""
    vectors, text = row.pop("embedding", None), row["answer"]
    probability = row.pop("probability", None)
    if vectors:
        row["answer"] = {"vectors": vectors if isinstance(vectors[0], list) else [vectors]}
    elif text is not None:
        row["answer"] = {"text": text, "probability": probability}
    return row


def _embedding(row: dict[str, Any]) -> list[Any] | None:
    """Take the vectors of a row out of its answer, and return them."""
    answer = row.get("answer")
    if not isinstance(answer, dict) or answer.keys().isdisjoint({ONE_VECTOR, VECTORS}):
        return None
    row["answer"] = None
    packed = answer[VECTORS] if VECTORS in answer else [answer[ONE_VECTOR]]
    return [unpacked_vector(text) for text in packed]


def _as_type(vectors: list[Any] | None, *, nested: bool) -> Any:
    return vectors if nested or vectors is None else vectors[0]


def _array(column: list[Any], field: pa.Field) -> pa.Array:
    if pa.types.is_string(field.type):
        column = [as_text(value) for value in column]
    return pa.array(column, field.type)
