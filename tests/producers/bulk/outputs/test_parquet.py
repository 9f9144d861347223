"""Parquet: typed columns, in bounded memory, complete or not there at all."""

import subprocess
import sys
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay.producers.bulk.outputs import parquet
from forebay.producers.bulk.outputs.columns import BAD_ROW_COLUMNS
from forebay.producers.bulk.outputs.open_output import open_output

FULL_DISK = """
import resource, sys
from forebay.producers.bulk.outputs.open_output import open_output
from forebay.routing.errors import Unavailable
output = open_output(sys.argv[1])
size = output.append({"row": n, "error_note": str(n * 7919)} for n in range(1, 3001))
unlimited = resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, unlimited))
try:
    output.finish()
except Unavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
output.close()
output = open_output(sys.argv[1], resume_at=size)
output.finish()
"""


def written(path, rows, **options):
    with open_output(path, **options) as output:
        output.append(rows)
        output.finish()
    return pq.read_table(path)


def test_columns_have_their_types(tmp_path, result):
    answer = {"label": "good", "probability": 0.5, "scores": {"good": 0.5}}
    table = written(tmp_path / "out.parquet", [result(1, answer), result(2)])
    types = {field.name: field.type for field in table.schema}
    assert types["row"] == types["tokens_in"] == pa.int64()
    assert types["probability"] == types["cost_usd"] == pa.float64()
    assert types["degraded"] == pa.bool_()
    assert types["answer"] == types["error"] == pa.string()
    assert "embedding" not in types
    first, second = table.to_pylist()
    assert (first["answer"], first["probability"]) == ("good", 0.5)
    assert first["checks"] == [{"name": "label", "passed": True, "note": ""}]
    assert first["reasons"] == ["easy"]
    assert (second["answer"], second["error"], second["checks"]) == (None, "bad_answer", [])


def test_an_extracted_object_is_json(tmp_path, result):
    rows = [result(1, {"data": {"float32": "x", "é": 1}})]
    table = written(tmp_path / "out.parquet", rows)
    assert table["answer"].to_pylist() == ['{"float32":"x","é":1}']


def test_embeddings_are_lists_of_numbers(tmp_path, result):
    rows = [result(1), result(2, {"vectors": [[0.5, -1.25]]})]
    table = written(tmp_path / "out.parquet", rows)
    assert table.schema.field("embedding").type == pa.list_(pa.float32())
    assert table["embedding"].to_pylist() == [None, [0.5, -1.25]]
    assert table["answer"].to_pylist() == [None, None]


def test_several_vectors_in_any_row_make_lists_of_lists(tmp_path, result):
    rows = [
        result(1, {"vectors": [[0.5]]}),
        result(2, {"vectors": [[1.5], [2.5]]}),
    ]
    table = written(tmp_path / "out.parquet", rows)
    assert table["embedding"].to_pylist() == [[[0.5]], [[1.5], [2.5]]]


def test_bad_rows_may_be_parquet_too(tmp_path):
    row = {"file": "f", "row": 1, "line": 2, "column": 12, "reason": "r", "key": None}
    table = written(tmp_path / "bad.parquet", [row], columns=BAD_ROW_COLUMNS)
    assert table.to_pylist() == [{**row, "column": "12"}]


def test_no_rows_are_a_file_with_columns(tmp_path):
    assert written(tmp_path / "out.parquet", []).num_rows == 0


def test_rows_are_converted_in_groups_of_bounded_size(tmp_path, result, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_BYTES", 200_000)
    text = {"text": "x" * 10_000}
    with open_output(tmp_path / "out.parquet") as output:
        for start in range(1, 2_001, 100):
            output.append([result(start + index, text) for index in range(100)])
        tracemalloc.start()
        output.finish()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert (file.metadata.num_rows, file.num_row_groups) == (2_000, 100)
    assert peak < 2_000_000


def test_a_full_disk_leaves_a_spool_that_can_be_finished_later(tmp_path):
    path = tmp_path / "out.parquet"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.strip() == (
        f"{path}: cannot be written: File too large; free some space and resume"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["out.parquet"]
    assert pq.read_table(path)["row"].to_pylist() == list(range(1, 3_001))


def test_a_death_before_the_spool_is_removed_does_no_harm(tmp_path, result):
    path = tmp_path / "out.parquet"
    with open_output(path) as output:
        size = output.append([result(1)])
        spool = (tmp_path / "out.parquet.part").read_bytes()
        output.finish()
    (tmp_path / "out.parquet.part").write_bytes(spool)
    (tmp_path / "out.parquet.unfinished").write_bytes(b"half a file")
    with open_output(path, resume_at=size) as output:
        output.finish()
    assert [each.name for each in tmp_path.iterdir()] == ["out.parquet"]
    assert pq.read_table(path)["row"].to_pylist() == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_vector_may_hold_any_number(tmp_path, result, value):
    rows = [result(1, {"vectors": [[value, 1.0]]})]
    stored = written(tmp_path / "out.parquet", rows)["embedding"].to_pylist()[0]
    assert str(stored[0]) == str(value)
