"""Parquet: rows from any position on, in bounded memory; damage costs only what is damaged."""

import datetime as dt
import decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay.producers.bulk.rows import BadRow, RawRow
from forebay.producers.bulk.sources.open_source import open_source
from forebay.routing.errors import InvalidJob


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.parquet"


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return open_source(path)


def test_rows_are_read_across_row_groups(path):
    source = write(
        path, {"id": list(range(10)), "body": [f"b{n}" for n in range(10)]}, row_group_size=3
    )
    assert source.columns() == ("id", "body")
    rows = list(source.rows())
    assert [row.fields for row in rows] == [{"id": n, "body": f"b{n}"} for n in range(10)]
    assert [(row.number, row.line, *row.end[1:]) for row in rows] == [
        (n, n, n, n) for n in range(1, 11)
    ]
    offsets = [row.end.offset for row in rows]
    assert offsets == sorted(set(offsets))
    assert offsets[-1] == source.size()


def test_reading_goes_on_after_any_row(path):
    write(path, {"id": list(range(2_500))}, row_group_size=1_100)
    every = list(open_source(path).rows())
    for index in (0, 1, 1_022, 1_023, 1_024, 1_098, 1_099, 1_100, 2_199, 2_498, 2_499):
        assert list(open_source(path).rows(every[index].end)) == every[index + 1 :]


def test_only_the_columns_that_are_needed_are_read(path):
    source = write(path, {"id": [1], "body": ["x"], "more": ["y"]})
    assert next(source.rows(columns={"body", "id"})).fields == {"id": 1, "body": "x"}


def test_values_of_any_type_are_read(path):
    columns = {
        "dictionary": pa.array(["a"]).dictionary_encode(),
        "large": pa.array(["b"], pa.large_string()),
        "when": pa.array([dt.datetime(2026, 1, 2, tzinfo=dt.UTC)]),
        "price": pa.array([decimal.Decimal("1.50")]),
        "list": pa.array([["x", "y"]]),
        "struct": pa.array([{"a": 1}]),
        "bytes": pa.array([b"raw"]),
        "null": pa.array([None], pa.string()),
    }
    row = next(write(path, columns).rows())
    assert row.fields == {
        "dictionary": "a",
        "large": "b",
        "when": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        "price": decimal.Decimal("1.50"),
        "list": ["x", "y"],
        "struct": {"a": 1},
        "bytes": b"raw",
        "null": None,
    }


def test_text_that_is_not_utf_8_costs_its_row(path):
    raw = pa.array([b"good", b"\xff\xfe", b"good too"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    first, bad, last = write(path, {"id": [1, 2, 3], "body": text}).rows()
    assert (first.fields["body"], last.fields["body"]) == ("good", "good too")
    assert (bad.number, bad.column, bad.reason) == (2, "body", "is not UTF-8 text")


def test_a_time_that_python_cannot_hold_costs_its_row(path):
    times = pa.array([0, 2**60, 0], pa.timestamp("us"))
    rows = list(write(path, {"when": times}).rows())
    assert [type(row) for row in rows] == [RawRow, BadRow, RawRow]
    assert (rows[1].column, rows[1].reason) == ("when", "has a value out of range")


def test_a_damaged_row_group_costs_its_rows(path):
    rows = [f"row {n} " * 20 for n in range(300)]
    write(path, {"body": rows}, row_group_size=100, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    found = list(open_source(path).rows())
    assert [row.number for row in found] == list(range(1, 301))
    assert [type(row) for row in found] == [RawRow] * 100 + [BadRow] * 100 + [RawRow] * 100
    assert found[150].reason == "the part of the file with rows 101 to 200 is damaged"
    assert list(open_source(path).rows(found[149].end)) == found[150:]


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_a_file_that_ends_in_the_middle_is_refused(path, kept):
    write(path, {"body": ["x"] * 1_000})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        InvalidJob, match=r"rows\.parquet: is no Parquet file, or ends in the middle"
    ):
        list(open_source(path).rows())


def test_an_empty_file_and_one_without_rows_are_refused(path):
    path.write_bytes(b"")
    with pytest.raises(InvalidJob, match=r"rows\.parquet: is empty"):
        list(open_source(path).rows())
    with pytest.raises(InvalidJob, match=r"rows\.parquet: has no rows"):
        list(write(path, {"body": pa.array([], pa.string())}).rows())


def test_two_columns_of_one_name_are_refused(path):
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["id", "id"]), path)
    with pytest.raises(InvalidJob, match="columns 1 and 2 are both named 'id'"):
        list(open_source(path).rows())
