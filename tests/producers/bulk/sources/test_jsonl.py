"""JSON Lines: each way in which a line can be wrong is one bad row, and stops no other."""

import json
import tracemalloc

import pytest

from forebay.producers.bulk.rows import BadRow, RawRow
from forebay.producers.bulk.sources.open_source import open_source
from forebay.producers.bulk.streams.lines import MAX_ROW_BYTES, TOO_LONG
from forebay.routing.errors import InvalidJob


@pytest.fixture
def read(tmp_path):
    def read(data):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(data)
        return list(open_source(path).rows())

    return read


def test_a_row_has_its_number_line_and_fields(read):
    rows = read(b'{"a": 1}\n\n  \r\n{"a": {"b": [null]}}\r\n{"a": "last"}')
    assert [(row.number, row.line, row.fields) for row in rows] == [
        (1, 1, {"a": 1}),
        (2, 4, {"a": {"b": [None]}}),
        (3, 5, {"a": "last"}),
    ]
    assert [row.end for row in rows] == [(9, 1, 1), (36, 2, 4), (49, 3, 5)]


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        (b'{"a": 1,}', 9, "is not a JSON object: trailing comma"),
        (b'{"a": 1} {"b": 2}', 10, "is not a JSON object: trailing characters"),
        (b'{"a": "never closed', 19, "is not a JSON object: the line ends inside a string"),
        (b'{"a": NaN}', 7, "is not a JSON object: NaN and Infinity are no JSON numbers"),
        (b'{"a": -Infinity}', 8, "is not a JSON object: NaN and Infinity are no JSON numbers"),
        (b'{"a": "\xff"}', 8, "is not UTF-8 text: save the file as UTF-8"),
        (b'{"a": "\0"}', 8, "has a NUL character: remove it"),
        (b'"a string"', None, "is a JSON string; a row must be a JSON object"),
        (b"17", None, "is a JSON number; a row must be a JSON object"),
        (b"null", None, "is a JSON null; a row must be a JSON object"),
        (b"[1, 2]", None, "is a JSON array; a row must be a JSON object"),
        (b'{"a": 1, "b": 2, "a": 3}', "a", "occurs twice in the object: remove one of the two"),
        (b'{"a" :1, "a" : 3}', "a", "occurs twice in the object: remove one of the two"),
        (b'{"a":1,"a" \t:"x:y"}', "a", "occurs twice in the object: remove one of the two"),
        (b'{"o": {"b": 2, "b": 3}}', "b", "occurs twice in the object: remove one of the two"),
    ],
)
def test_a_wrong_line_is_a_bad_row_between_good_ones(read, line, column, reason):
    first, bad, last = read(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    assert (first.fields, last.fields) == ({"a": 1}, {"a": 2})
    assert isinstance(bad, BadRow)
    assert (bad.number, bad.line, bad.column, bad.reason) == (2, 2, column, reason)
    assert bad.file.endswith("rows.jsonl")


@pytest.mark.parametrize(
    "line",
    [b'{"a": "x:y", "b": "\\"a\\":"}', b'{"a": {"a": 1}, "b": {"a": 2}}', b'{"a:b": 1, "a": "b:"}'],
)
def test_colons_and_nested_names_are_no_repeated_names(read, line):
    assert read(line)[0].fields == json.loads(line)


def test_an_object_that_is_nested_too_deep_is_a_bad_row(read):
    bad, good = read(b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b'\n{"a": 1}\n')
    assert bad.reason == "is not a JSON object: the objects and arrays are nested too deep"
    assert good.fields == {"a": 1}


def test_a_number_of_many_digits_is_a_bad_row(read):
    bad, good = read(b'{"a": ' + b"9" * 10_000 + b'}\n{"a": 1}\n')
    assert bad.reason == "is not a JSON object: number out of range"
    assert good.number == 2


def test_a_byte_order_mark_is_no_part_of_the_first_row(read):
    first, second = read(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n')
    assert (first.fields, first.end.offset) == ({"a": 1}, 12)
    assert second.end.offset == 21


def test_a_line_of_100_mb_is_a_bad_row_and_is_never_in_memory(tmp_path):
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"a": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"a": 2}\n')
    tracemalloc.start()
    try:
        first, bad, last = open_source(path).rows()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (first.fields, last.fields, last.line) == ({"a": 1}, {"a": 2}, 3)
    assert bad.reason == TOO_LONG
    assert peak < 4 * MAX_ROW_BYTES


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_the_longest_line_is_read_and_one_byte_more_is_too_long(read, start):
    def line(size):
        return b'{"a":"' + b"x" * (size - 9) + b'"}\n'

    size = MAX_ROW_BYTES - len(start)
    rows = read(start + line(size) + line(MAX_ROW_BYTES + 1) + line(20))
    assert [type(row) for row in rows] == [RawRow, BadRow, RawRow]
    assert rows[2].line == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty: it must have at least one row"),
        (b"\n \n\r\n", "has no rows: it must have at least one"),
        (b"\xef\xbb\xbf", "has no rows: it must have at least one"),
        (b'[{"a": 1}]', r"holds a JSON array: write one object a line, as `jq -c '\.\[\]'` does"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip: unpack it first"),
        ('{"a": 1}'.encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (b"PK\x03\x04...", "is a ZIP archive or an Excel workbook"),
        (b"PAR1....", 'is a Parquet file: give the format "parquet"'),
    ],
)
def test_a_file_that_holds_no_rows_is_refused_with_its_name(read, data, reason):
    with pytest.raises(InvalidJob, match=rf"rows\.jsonl: {reason}"):
        read(data)


def test_the_columns_are_those_of_the_first_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\nnonsense\n{"b": 1, "a": 1}\n')
    assert open_source(path).columns() == ("a", "b")
