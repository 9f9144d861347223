"""CSV and TSV: quotes and line breaks, and each way in which a file or a record can be wrong."""

import csv
import tracemalloc

import pytest

from forebay.producers.bulk.rows import BadRow, RawRow
from forebay.producers.bulk.sources import records
from forebay.producers.bulk.sources.open_source import open_source
from forebay.producers.bulk.streams.lines import MAX_ROW_BYTES, TOO_LONG
from forebay.routing.errors import InvalidJob

TWO = "but the header has 2 columns"
QUOTE_IT = "put a cell that holds a delimiter in quotes"


@pytest.fixture
def opened(tmp_path):
    def opened(data, name="rows.csv"):
        path = tmp_path / name
        path.write_bytes(data)
        return open_source(path)

    return opened


@pytest.fixture
def read(opened):
    def read(data, name="rows.csv"):
        return list(opened(data, name).rows())

    return read


def fields(rows):
    return [row.fields if isinstance(row, RawRow) else row.reason for row in rows]


def test_a_row_has_its_number_line_and_fields(read):
    rows = read(b'id,body\r\n1,short\r\n\r\n2,"two\r\nlines, and ""quotes"""\r\n3,last')
    assert [(row.number, row.line, row.fields["body"]) for row in rows] == [
        (1, 2, "short"),
        (2, 4, 'two\r\nlines, and "quotes"'),
        (3, 6, "last"),
    ]
    assert [row.end for row in rows] == [(18, 1, 2), (52, 2, 5), (58, 3, 6)]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"id,body\n1,x\n", "rows.csv"),
        (b"id;body\n1;x\n", "rows.csv"),
        (b"id\tbody\n1\tx\n", "rows.csv"),
        (b"id\tbody\n1\tx\n", "rows.tsv"),
        (b"\n\nid,body\n1,x\n", "rows.csv"),
        (b"\xef\xbb\xbfid,body\r\n1,x\r\n", "rows.csv"),
        (b'\xef\xbb\xbf"id","body"\n1,x\n', "rows.csv"),
        (b" id , body \n1,x\n", "rows.CSV"),
        (b",id,body\n0,1,x\n", "rows.csv"),
    ],
)
def test_headers_of_many_programs_are_read(read, data, name):
    assert fields(read(data, name)) == [{"id": "1", "body": "x"}]


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        (b"1,x,more", None, f"has 3 cells, {TWO}: {QUOTE_IT}"),
        (b"1", None, f"has 1 cell, {TWO}: add what is missing"),
        (b'1,"x,\ny",z', None, f"has 3 cells (lines 3 to 4), {TWO}: {QUOTE_IT}"),
        (b"id,body", None, "repeats the header: remove the line"),
        (b"\xef\xbb\xbfid, body", None, "repeats the header: remove the line"),
        (b'1,"x"y', None, "has a quote inside a quoted cell: double it"),
        (b"1,x\ry", None, "has a carriage return in a cell: put the cell in quotes"),
        (b"1,\xff", "body", "is not UTF-8 text: save the file as UTF-8"),
        (b"\xe4,x", "id", "is not UTF-8 text: save the file as UTF-8"),
        (b"1,x\0y", "body", "has a NUL character: remove it"),
    ],
)
def test_a_wrong_record_is_a_bad_row_between_good_ones(read, line, column, reason):
    first, bad, last = read(b"id,body\n0,first\n" + line + b"\n9,last\n")
    assert (first.fields["id"], last.fields["id"]) == ("0", "9")
    assert isinstance(bad, BadRow)
    assert (bad.number, bad.line, bad.column, bad.reason) == (2, 3, column, reason)


def test_a_quote_that_is_never_closed_costs_one_row(read):
    rows = read(b'id,body\n1,"oops\n2,fine\n3,fine too\n')
    assert fields(rows) == [
        "opens a quote that is never closed: close it, or double it",
        {"id": "2", "body": "fine"},
        {"id": "3", "body": "fine too"},
    ]
    assert [(row.number, row.line) for row in rows] == [(1, 2), (2, 3), (3, 4)]


def test_a_stray_quote_before_a_quoted_cell_costs_one_row(read):
    rows = read(b'id,body\n1,"oops\n2,fine\n3,"a, quoted"\n4,"two\nlines"\n')
    assert fields(rows) == [
        "has a quote inside a quoted cell: double it",
        {"id": "2", "body": "fine"},
        {"id": "3", "body": "a, quoted"},
        {"id": "4", "body": "two\nlines"},
    ]


def test_an_open_quote_in_a_long_file_costs_one_row_and_bounded_memory(opened, monkeypatch):
    limit = 500_000
    monkeypatch.setattr(records, "MAX_ROW_BYTES", limit)
    line = b"1," + b"x" * 1_000 + b"\n"
    count = 10 * limit // len(line)
    source = opened(b'id,body\n0,"oops\n' + line * count)
    tracemalloc.start()
    try:
        rows = source.rows()
        bad = next(rows)
        good = sum(isinstance(row, RawRow) for row in rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bad.reason == "opens a quote that is never closed: close it, or double it"
    assert good == count
    assert peak < 9 * limit  # csv.reader has four bytes for each character


def test_stray_quotes_in_each_line_take_time_in_proportion(read):
    rows = read(b"id,body\n" + b'1,"oops\n' * 20_001)
    assert len(rows) == 20_001
    assert {type(row) for row in rows} == {BadRow}


def test_a_line_of_100_mb_is_a_bad_row(tmp_path):
    path = tmp_path / "rows.csv"
    with path.open("wb") as file:
        file.write(b"id,body\n1,first\n2,")
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b"\n3,last\n")
    tracemalloc.start()
    try:
        first, bad, last = open_source(path).rows()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (first.fields["id"], last.fields["id"], last.line) == ("1", "3", 4)
    assert bad.reason == TOO_LONG
    assert peak < 4 * MAX_ROW_BYTES


def test_a_cell_of_any_size_below_the_limit_is_read(read):
    text = "y" * 1_000_000
    assert read(f'id,body\n1,"{text}"\n'.encode())[0].fields["body"] == text
    assert csv.field_size_limit() >= MAX_ROW_BYTES


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty: it must have at least one row"),
        (b"\n\n", "has no header: the first line must name the columns"),
        (b"id,body\n", "has no rows: it must have at least one"),
        (b"id,body,id\n1,x,2\n", "columns 1 and 3 are both named 'id': rename one of them"),
        (b"sep=;\r\nid;body\r\n1;x\r\n", "line 1, the header, is Excel's 'sep=': remove that line"),
        (b"id, id\n1,x\n", "columns 1 and 2 are both named 'id': rename one of them"),
        (b",\n1,x\n", "has no names of columns: give them in the header"),
        (b"id,\xff\n1,x\n", "line 1, the header, is not UTF-8 text: save the file as UTF-8"),
        (b'id,"body\n1,x\n', "line 1, the header, opens a quote that is never closed"),
        (b"id,body\r1,x\r", "line 1, the header, has a carriage return in a cell"),
        ("id,body\n1,x\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (b"PK\x03\x04 an Excel workbook", "is a ZIP archive or an Excel workbook"),
    ],
)
def test_a_file_without_usable_rows_is_refused_with_its_name(read, data, reason):
    with pytest.raises(InvalidJob, match=rf"rows\.csv: {reason}"):
        read(data)


def test_a_column_without_a_name_is_not_read(opened):
    source = opened(b",id,,body\n0,1,,x\n")
    assert source.columns() == ("id", "body")
    assert fields(source.rows()) == [{"id": "1", "body": "x"}]
