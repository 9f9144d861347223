"""What can be named as the input of a bulk."""

import builtins

import pytest

from forebay.producers.bulk.sources.delimited import DelimitedSource
from forebay.producers.bulk.sources.folder import FolderSource
from forebay.producers.bulk.sources.items import ItemsSource
from forebay.producers.bulk.sources.jsonl import JsonlSource
from forebay.producers.bulk.sources.open_source import open_source
from forebay.routing.errors import InvalidJob, Misconfigured


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
        ("rows.xlsx", None, "rows.xlsx: has no known format: give one of jsonl, csv, tsv"),
        ("rows", None, "rows: has no known format"),
        ("rows.csv", "xml", "format: must be one of jsonl, csv, tsv, parquet, text, items"),
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


def test_a_folder_is_one_row_a_file(tmp_path):
    assert type(open_source(tmp_path)) is FolderSource
    assert type(open_source(str(tmp_path), format="text")) is FolderSource


@pytest.mark.parametrize("source", [7, b"rows.csv", None])
def test_what_is_neither_a_name_nor_an_iterable_is_refused(source):
    with pytest.raises(InvalidJob, match="source: must be a file, a folder, - or an iterable"):
        open_source(source)


def test_standard_input_has_a_format_of_lines():
    with pytest.raises(InvalidJob, match="format: must be jsonl, csv or tsv for standard input"):
        open_source("-", format="parquet")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_pyarrow(name, *args, **options):
        if "bulk.sources.parquet" in name:
            raise ImportError(name)
        return real(name, *args, **options)

    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(Misconfigured, match=r"rows\.parquet: needs the extra `parquet`"):
        open_source(tmp_path / "rows.parquet")
