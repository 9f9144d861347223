"""Reads the metadata of a GGUF file, for tests without the package `gguf`.

ggml's docs/gguf.md describes the format, version 3: a header of magic, version and two counts, then
keys with typed values, little-endian.
"""

from __future__ import annotations

import struct
import types

_NUMBERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


class Metadata:
    """The metadata, with the method of gguf's reader that `tests/gpu/models/words.py` calls."""

    def __init__(self, path):
        with path.open("rb") as self._file:
            assert self._file.read(4) == b"GGUF"
            _, _, count = self._take("IQQ")
            self._fields = {self._string(): self._value() for _ in range(count)}

    def get_field(self, name):
        value = self._fields.get(name)
        return None if value is None else types.SimpleNamespace(contents=lambda: value)

    def _take(self, form):
        form = "<" + form
        return struct.unpack(form, self._file.read(struct.calcsize(form)))

    def _string(self):
        [size] = self._take("Q")
        return self._file.read(size).decode("utf-8")

    def _value(self, kind=None):
        kind = self._take("I")[0] if kind is None else kind
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            inner, size = self._take("IQ")
            return [self._value(inner) for _ in range(size)]
        return self._take(_NUMBERS[kind])[0]
