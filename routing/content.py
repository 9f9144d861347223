"""How contents rest in Redis: sealed bytes, apart from the records that describe them."""

from __future__ import annotations

import zlib

MAX_BYTES = 64 * 1024 * 1024  # of one content, unpacked; a forged one cannot fill the memory
_ZLIB = b"z"


def seal(data: bytes) -> bytes:
    """Pack a content. The first byte names the form, so that forms can be added."""
    return _ZLIB + zlib.compress(data, level=1)


def unseal(sealed: bytes) -> bytes:
    """The content that was sealed.

    Raises:
        ValueError: These bytes were not made by `seal`, or are larger than `MAX_BYTES`.
    """
    if sealed[:1] != _ZLIB:
        raise ValueError("a content of an unknown form")
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(sealed[1:], MAX_BYTES)
    except zlib.error:
        raise ValueError("a damaged content") from None
    if not unpacker.eof:
        raise ValueError("a content that is cut off or too large")
    return data
