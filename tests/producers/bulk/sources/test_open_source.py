"""What can be named as the input of a bulk."""

import builtins
import gzip
import io
import sys

import pytest

from forebay.producers.bulk.rows import BadRow
from forebay.producers.bulk.sources.delimited import DelimitedSource
from forebay.producers.bulk.sources.folder import FolderSource
from forebay.producers.bulk.sources.items import ItemsSource
from forebay.producers.bulk.sources.jsonl import JsonlSource
from forebay.producers.bulk.sources.open_source import open_source
from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.jobs import Summarize


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("rows.jsonl", None, JsonlSource),
        ("rows.NDJSON", None, JsonlSource),
        ("rows.csv", None, DelimitedSource),
        ("rows.tsv", None, DelimitedSource),
        ("rows", "csv", DelimitedSource),
        ("rows.csv", "jsonl", JsonlSource),
        ("spool", "items", ItemsSource),
    ],
)
def test_a_file_is_opened_by_its_name_or_the_format_given(tmp_path, name, form, expected):
    path = tmp_path / name
    path.write_text("{}\n")
    for source in (str(path), path):
        assert type(open_source(source, format=form)) is expected
    assert open_source(path, format=form).name == str(path)


@pytest.mark.parametrize(
    ("name", "form", "reason"),
    [
        ("missing.csv", None, "missing.csv: cannot be read: No such file or directory"),
        ("rows.xlsx", None, "rows.xlsx: has no known format: give the format, one of jsonl, csv"),
        ("rows", None, "rows: has no known format"),
        ("rows.csv", "xml", "format: must be one of jsonl, csv, tsv, parquet, text$"),
        ("rows.csv", "text", "rows.csv: has no known format"),
        (".", "csv", "format: must be text for a folder"),
        ("a\0b.csv", None, "is not a valid file name"),
        ("x" * 300 + ".csv", None, "File name too long"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_its_name(tmp_path, name, form, reason):
    for each in ("rows.xlsx", "rows", "rows.csv"):
        (tmp_path / each).write_text("x\n")
    with pytest.raises(InvalidJob, match=reason):
        open_source(f"{tmp_path}/{name}", format=form)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.dat"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(b"body\nx\n", mtime=0), "is compressed with gzip: unpack it first"),
        (b"PK\x03\x04xl/workbook.xml", "is a ZIP archive or an Excel workbook: unpack it, or save"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel workbook or Word document: save it as CSV"),
        (b"%PDF-1.4\n", "is a PDF document: rows must be JSON Lines, CSV, TSV or Parquet"),
        (b"\xef\xbb\xbf<!DOCTYPE html>\n<html>", "is HTML or XML: rows must be JSON Lines, CSV"),
        (b'<?xml version="1.0"?>\n', "is HTML or XML: rows must be JSON Lines, CSV"),
        (b"SQLite format 3\0\0\0", "is an SQLite database: export the table as CSV"),
        ("body\nx\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("body\nx\n".encode("utf-32"), "is UTF-32: save it as UTF-8"),
        ("body\nx\n".encode("utf-16-le"), "is UTF-16 or no text at all: save it as UTF-8"),
        ("body\nx\n".encode("utf-16-be"), "is UTF-16 or no text at all: save it as UTF-8"),
    ],
)
def test_a_file_that_is_no_lines_of_text_is_refused_by_what_it_is(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidJob, match=reason) as refused:
        list(open_source(path).rows())
    assert refused.value.field == str(path)


def test_an_object_over_several_lines_is_refused_at_once(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('\ufeff{\n  "rows": [\n    {"body": "x"}\n  ]\n}\n')
    with pytest.raises(InvalidJob, match="holds an object over several lines: write one object a"):
        list(open_source(path).rows())


def test_a_folder_is_one_row_a_file(tmp_path):
    assert type(open_source(tmp_path)) is FolderSource
    assert type(open_source(str(tmp_path), format="text")) is FolderSource


@pytest.mark.parametrize("source", [7, b"rows.csv", None, {"a": 1}, Summarize(text="one row")])
def test_what_is_neither_a_name_nor_an_iterable_is_refused(source):
    with pytest.raises(InvalidJob, match="source: must be a file, a folder, - or an iterable"):
        open_source(source)


def test_standard_input_has_a_format_of_lines():
    with pytest.raises(InvalidJob, match="format: must be jsonl, csv or tsv for standard input"):
        open_source("-", format="parquet")


@pytest.mark.parametrize(
    "content", [b"id,body\n1,x\n", b"\xef\xbb\xbfid\tbody\n", b"not JSON\n", b"1\n"]
)
def test_standard_input_without_a_format_must_begin_with_an_object(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(InvalidJob, match="standard input: does not begin with a JSON object: give"):
        list(open_source("-").rows())


@pytest.mark.parametrize(("content", "form"), [(b"1\n", "jsonl"), (b'\n{"a": 1}\nx\n', None)])
def test_a_wrong_row_of_standard_input_is_a_bad_row(monkeypatch, content, form):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    *_, last = open_source("-", format=form).rows()
    assert type(last) is BadRow


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_pyarrow(name, *args, **options):
        if "bulk.sources.parquet" in name:
            raise ImportError(name)
        return real(name, *args, **options)

    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(Misconfigured, match=r"rows\.parquet: needs pyarrow: install the extra"):
        open_source(tmp_path / "rows.parquet")
