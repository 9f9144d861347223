"""Splits an input into physical lines with exact byte offsets, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from forebay.routing.errors import InvalidJob

#: A larger row is bad. The longest text that a request may have, with each character escaped in
#: JSON, is smaller.
MAX_ROW_BYTES = 8 * 1024 * 1024

#: What is wrong with a line.
NOT_UTF_8 = "is not UTF-8 text: save the file as UTF-8"
HAS_NUL = "has a NUL character: remove it"
TOO_LONG = f"is longer than {MAX_ROW_BYTES:,} bytes: shorten it, or split it into several rows"

BOM = b"\xef\xbb\xbf"

#: The first bytes of files that hold no lines of UTF-8, and what to do about it.
_NOT_TEXT = {
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it first",
    b"BZh": "is compressed with bzip2: unpack it first",
    b"\xfd7zXZ\x00": "is compressed with xz: unpack it first",
    b"\x04\x22\x4d\x18": "is compressed with lz4: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "is compressed with 7-Zip: unpack it first",
    b"Rar!": "is compressed with RAR: unpack it first",
    b"PK\x03\x04": "is a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook or Word document: save it as CSV",
    b"PAR1": 'is a Parquet file: give the format "parquet"',
    b"ARROW1": "is an Arrow file: save it as Parquet",
    b"Obj\x01": "is an Avro file: save it as Parquet or JSON Lines",
    b"SQLite format 3": "is an SQLite database: export the table as CSV",
    b"%PDF-": "is a PDF document: rows must be JSON Lines, CSV, TSV or Parquet",
    b"\x89PNG": "is an image: rows must be JSON Lines, CSV, TSV or Parquet",
    b"\xff\xd8\xff": "is an image: rows must be JSON Lines, CSV, TSV or Parquet",
    b"\xff\xfe\x00\x00": "is UTF-32: save it as UTF-8",
    b"\x00\x00\xfe\xff": "is UTF-32: save it as UTF-8",
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
}

#: How HTML and XML begin, in lower case: often the page of an error, saved as the file.
_MARKUP = (b"<!doctype", b"<html", b"<?xml")

#: A file of whose first bytes more than a third are NUL is no UTF-8.
_NUL_SHARE = 1 / 3

#: How much of a line that is too long is read at a time.
SKIP_BYTES = 1 << 16


class Line(NamedTuple):
    """A physical line.

    Attributes:
        number: from 1.
        data: the bytes with the line's end, without a byte order mark; `None` if there are more
            than `MAX_ROW_BYTES`.
        end: the offset of the byte after the line.
    """

    number: int
    data: bytes | None
    end: int


def lines(stream: BinaryIO, *, offset: int, number: int, until: float = math.inf) -> Iterator[Line]:
    """Yield the lines of a stream.

    Args:
        stream: the stream, at the start of a line.
        offset: the offset of the stream's next byte.
        number: the number of the line before.
        until: where the stream ends, even if more comes after it.
    """
    readline = stream.readline
    while offset < until and (data := readline(MAX_ROW_BYTES + 1)):
        if offset + len(data) > until:
            data = data[: int(until) - offset]
        number += 1
        begin, offset = offset, offset + len(data)
        if len(data) > MAX_ROW_BYTES:
            offset += _skip_line(stream, data)
            yield Line(number, None, offset)
        else:
            yield Line(number, data.removeprefix(BOM) if begin == 0 else data, offset)


def _skip_line(stream: BinaryIO, data: bytes) -> int:
    """Read to the end of the line that begins with `data`; return how many bytes that are."""
    skipped = 0
    while data and not data.endswith(b"\n"):
        data = stream.readline(SKIP_BYTES)
        skipped += len(data)
    return skipped


def check_is_text(head: bytes, *, name: str) -> None:
    """Check the first bytes of an input.

    Raises:
        InvalidJob: The input is empty, compressed, or in another encoding or format.
    """
    if not head:
        raise InvalidJob("is empty: it must have at least one row", field=name)
    for magic, reason in _NOT_TEXT.items():
        if head.startswith(magic):
            raise InvalidJob(reason, field=name)
    if head.removeprefix(BOM).lstrip().lower().startswith(_MARKUP):
        raise InvalidJob("is HTML or XML: rows must be JSON Lines, CSV, TSV or Parquet", field=name)
    if head.count(0) > _NUL_SHARE * len(head):
        raise InvalidJob("is UTF-16 or no text at all: save it as UTF-8", field=name)
