"""A folder of text files: one row a file."""

import os

import pytest

from forebay.producers.bulk.rows import BadRow
from forebay.producers.bulk.sources.open_source import open_source
from forebay.producers.bulk.streams.lines import MAX_ROW_BYTES
from forebay.routing.errors import InvalidJob


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mails"
    (folder / "2026").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbfsecond\r\n")
    (folder / "a.txt").write_text("first")
    (folder / "2026" / "c.eml").write_text("third")
    (folder / ".DS_Store").write_text("hidden")
    (folder / ".hidden" / "d.txt").write_text("hidden")
    return folder


def test_each_file_is_a_row_in_the_order_of_names(folder):
    source = open_source(folder)
    assert (source.columns(), source.key_column, source.size()) == (("file", "text"), "file", 21)
    rows = list(source.rows())
    assert [(row.number, row.fields) for row in rows] == [
        (1, {"file": "a.txt", "text": "first"}),
        (2, {"file": "b.txt", "text": "second\r\n"}),
        (3, {"file": "2026/c.eml", "text": "third"}),
    ]
    assert [row.end for row in rows] == [(5, 1, 1), (16, 2, 2), (21, 3, 3)]
    for index, row in enumerate(rows):
        assert list(open_source(folder).rows(row.end)) == rows[index + 1 :]


def test_a_file_that_is_no_text_is_a_bad_row(folder):
    (folder / "b.txt").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "c.txt").write_bytes(b"PK\0\0")
    (folder / "d.txt").write_bytes(b"x" * (MAX_ROW_BYTES + 1))
    bad = [row for row in open_source(folder).rows() if isinstance(row, BadRow)]
    assert [(row.number, row.key, row.column, row.reason) for row in bad] == [
        (2, "b.txt", "text", "the file is not UTF-8 text, at byte 1"),
        (3, "c.txt", "text", "the file has a NUL character: it is no text"),
        (4, "d.txt", "text", f"the file is longer than {MAX_ROW_BYTES:,} bytes: split it"),
    ]
    assert bad[0].file == str(folder / "b.txt")


def test_a_name_that_is_no_utf_8_is_shown_with_replacements(folder):
    (folder / os.fsdecode(b"z\xff.txt")).write_text("last")
    assert [row.fields["file"] for row in open_source(folder).rows()][2] == "z\ufffd.txt"


def test_a_folder_without_files_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidJob, match="empty: has no files"):
        list(open_source(tmp_path / "empty").rows())


def test_a_link_in_circles_is_not_followed(folder):
    (folder / "loop").symlink_to(folder)
    assert open_source(folder).size() == 21


def test_what_changed_in_a_folder_is_said(folder):
    source = open_source(folder)
    then = source.fingerprint()
    assert (then.size, then.files) == (21, 3)
    assert source.changed_since(then) is None
    os.utime(folder / "a.txt", (1, 1))
    os.utime(folder / "b.txt")
    assert source.changed_since(then) is None
    (folder / "a.txt").rename(folder / "z.txt")
    assert source.changed_since(then) == f"a file in {folder} has another name or content"
    (folder / "z.txt").rename(folder / "a.txt")
    (folder / "a.txt").write_text("FIRST")
    assert source.changed_since(then) == f"a file in {folder} has another name or content"
    (folder / "a.txt").write_text("longer than first")
    assert source.changed_since(then) == f"the files in {folder} have 33 bytes, they had 21"
    (folder / "e.txt").write_text("new")
    assert source.changed_since(then) == f"{folder} has 4 files, it had 3"
