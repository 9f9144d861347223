"""The tensors in a folder of safetensors files, from the headers alone: no weights, no torch.

A file begins with 8 bytes, the length of its header (little-endian). The header is a JSON object of
tensors by name, each with its type, shape and place. The bytes of the tensors follow.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.routing.errors import Misconfigured

MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own library
_MAX_JSON_BYTES = 64 << 20
_MAX_AXES = 16
_NUMBERED = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")

#: Bytes of one element, by type.
ELEMENT_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2,
    "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as its header describes it; `size` is in bytes."""

    dtype: str
    shape: tuple[int, ...]
    size: int

    @property
    def elements(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file such as config.json.

    Raises:
        Misconfigured: The file cannot be read, is too large, or holds no JSON object.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_JSON_BYTES + 1)
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
    if len(text) > _MAX_JSON_BYTES:
        raise Misconfigured(f"is larger than {_MAX_JSON_BYTES >> 20} MiB", field=str(path))
    return _object(text, path)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of every `*.safetensors` file in a folder by name, as the loaders do.

    Raises:
        Misconfigured: There is no such file, or a file is damaged, cut off or missing. The error
            names the file.
    """
    files = sorted(folder.glob("*.safetensors"))
    names = {file.name for file in files}
    missing = sorted(_missing_from_index(folder, names) | (_numbered_files(names) - names))
    if missing:
        raise Misconfigured("is missing; download it again", field=str(folder / missing[0]))
    if not files:
        raise Misconfigured("holds no *.safetensors file", field=str(folder))
    return {name: tensor for file in files for name, tensor in read_header(file)}


def read_header(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one file with their names.

    Raises:
        Misconfigured: The file is no safetensors file, or it is cut off.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            _check_length(length, path)
            header = _object(file.read(length), path)
        room = path.stat().st_size - 8 - length
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
    header.pop("__metadata__", None)
    for name, entry in header.items():
        yield name, _tensor(entry, room, path)


def _missing_from_index(folder: Path, there: set[str]) -> set[str]:
    """Return the files that the index names and that are not there.

    A converted model may have the index of its source, and none of the files in it.
    """
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return set()
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise Misconfigured("has no weight_map", field=str(index))
    named = set(places.values())
    return named - there if named & there else set()


def _numbered_files(there: set[str]) -> set[str]:
    """Return all files of each numbered set that is there in part: `output-00001-of-00003`."""
    parts = {match.groups() for name in there if (match := _NUMBERED.fullmatch(name))}
    return {
        f"{stem}-{number:05}-of-{count}.safetensors"
        for stem, count in parts
        for number in range(1, int(count) + 1)
    }


def _check_length(length: int, path: Path) -> None:
    if not 0 < length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8):
        raise Misconfigured("is no safetensors file, or cut off in its header", field=str(path))


def _object(text: bytes, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise Misconfigured("is damaged: it holds no JSON", field=str(path)) from None
    if not isinstance(data, dict):
        raise Misconfigured("is damaged: it holds no JSON object", field=str(path))
    return data


def _tensor(entry: Any, room: int, path: Path) -> Tensor:
    """Return the tensor of an entry, if its place is possible; offsets start after the header."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [start, end]}:
            numbers = [*shape, start, end]
        case _:
            raise Misconfigured("is damaged: an entry is not a tensor's", field=str(path))
    width = ELEMENT_BYTES.get(dtype)
    if width is None:
        raise Misconfigured("holds tensors of an unknown type", field=str(path))
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise Misconfigured("is damaged: a size is no whole number", field=str(path))
    if len(shape) > _MAX_AXES or end - start != math.prod(shape) * width:
        raise Misconfigured("is damaged: a tensor's size is not that of its shape", field=str(path))
    if end > room:
        message = f"is cut off: {end - room} bytes are missing; download it again"
        raise Misconfigured(message, field=str(path))
    return Tensor(dtype, tuple(shape), end - start)
