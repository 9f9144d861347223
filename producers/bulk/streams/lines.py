"""Splits an input into physical lines with exact byte offsets, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from forebay.routing.errors import InvalidJob

#: A larger row is bad. The longest text that a request may have, with each character escaped in
#: JSON, is smaller.
MAX_ROW_BYTES = 8 * 1024 * 1024

#: What is wrong with a line of another encoding.
NOT_UTF_8 = "is not UTF-8 text: save the file as UTF-8"

BOM = b"\xef\xbb\xbf"

#: The first bytes of files that hold no lines of UTF-8, and what to do about it.
_NOT_TEXT = {
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it first",
    b"BZh": "is compressed with bzip2: unpack it first",
    b"\xfd7zXZ\x00": "is compressed with xz: unpack it first",
    b"PK\x03\x04": "is a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV",
    b"PAR1": 'is a Parquet file: give the format "parquet"',
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
}

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


def lines(stream: BinaryIO, *, offset: int, number: int) -> Iterator[Line]:
    """Yield the lines of a stream.

    Args:
        stream: the stream, at the start of a line.
        offset: the offset of the stream's next byte.
        number: the number of the line before.
    """
    readline = stream.readline
    while data := readline(MAX_ROW_BYTES + 1):
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
