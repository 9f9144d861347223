"""What a folder of safetensors files holds, read from their headers alone: no weights, no torch.

A file is 8 bytes that say how long its header is (little-endian), the header (a JSON object: a
tensor's name to its dtype, shape and place), then the tensors' bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from routing.errors import Misconfigured

#: What the format's own library refuses to go beyond.
MAX_HEADER = 100_000_000
_MAX_JSON = 64 << 20

#: Bytes of one element.
WIDTHS = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2,
    "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    dtype: str
    shape: list[int] = Field(max_length=16)
    data_offsets: tuple[int, int] = Field(strict=False)


_HEADER = TypeAdapter(dict[str, _Entry])


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as its header describes it; `size` is in bytes."""

    dtype: str
    shape: tuple[int, ...]
    size: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file such as config.json.

    Raises:
        Misconfigured: It cannot be read, is too large, or holds no JSON object.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_JSON + 1)
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
    if len(text) > _MAX_JSON:
        raise Misconfigured(f"is larger than {_MAX_JSON >> 20} MiB", field=str(path))
    return _object(text, path)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder by name: of every `*.safetensors` in it, as the loader does.

    Raises:
        Misconfigured: There is none, a file is cut off or damaged, or one that the index names is
            missing. The error names the file.
    """
    files = sorted(folder.glob("*.safetensors"))
    missing = sorted(_indexed(folder) - {file.name for file in files})
    if missing:
        raise Misconfigured("is named by the index and missing", field=str(folder / missing[0]))
    if not files:
        raise Misconfigured("holds no *.safetensors file", field=str(folder))
    return {name: tensor for file in files for name, tensor in read_header(file)}


def read_header(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one file, by name.

    Raises:
        Misconfigured: It is no safetensors file, or it is cut off.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            _bounded(length, path)
            header = _object(file.read(length), path)
        room = path.stat().st_size - 8 - length
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
    header.pop("__metadata__", None)
    try:
        entries = _HEADER.validate_python(header)
    except ValidationError as error:
        raise Misconfigured(f"has {error.error_count()} bad entries", field=str(path)) from None
    for name, entry in entries.items():
        yield name, _tensor(entry, room, path)


def _indexed(folder: Path) -> set[str]:
    """The files that the index names, where there is one."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return set()
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise Misconfigured("has no weight_map", field=str(index))
    return set(places.values())


def _bounded(length: int, path: Path) -> None:
    if not 0 < length <= min(MAX_HEADER, path.stat().st_size - 8):
        raise Misconfigured("is no safetensors file, or cut off in its header", field=str(path))


def _object(text: bytes, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise Misconfigured("is damaged: no JSON where it belongs", field=str(path)) from None
    if not isinstance(data, dict):
        raise Misconfigured("is damaged: no JSON object where it belongs", field=str(path))
    return data


def _tensor(entry: _Entry, room: int, path: Path) -> Tensor:
    """The tensor, if its place can be true: offsets count from the header's end."""
    start, end = entry.data_offsets
    width = WIDTHS.get(entry.dtype)
    if width is None:
        raise Misconfigured("holds tensors of an unknown type", field=str(path))
    if min(entry.shape, default=0) < 0 or end - start != math.prod(entry.shape) * width:
        raise Misconfigured("is damaged: a tensor's size is not that of its shape", field=str(path))
    if not 0 <= start <= end <= room:
        message = f"is cut off: {max(end - room, 0)} bytes are missing; fetch it again"
        raise Misconfigured(message, field=str(path))
    return Tensor(entry.dtype, tuple(entry.shape), end - start)
