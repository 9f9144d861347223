"""TOML files that people write: read, check, and say in which line a mistake is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from forebay.routing.base import first_error
from forebay.routing.errors import Misconfigured

T = TypeVar("T", bound=BaseModel)

MAX_CHARS = 1_000_000
_MAX_LINES_OF_ONE = 500  # of one statement, when a line is looked for

Loc = Sequence[str | int]


def read(path: Path, cls: type[T]) -> T:
    """What the file says, as a model.

    Raises:
        Misconfigured: Names the file, the line and the key; never repeats what is in the file.
    """
    text = _text(path)
    try:
        return cls.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise _explained(path, text, error) from None
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"is not TOML: {_where(error, text)}", field=str(path)) from None


def line_of(text: str, loc: Loc) -> int | None:
    """The line (from 1) of the statement that says most of this key; none if none says any.

    `loc` is a pydantic location: names, and indexes into arrays, from the root of valid TOML.
    """
    best, line = 0, None
    for start, path, value in _statements(text):
        depth = _depth(_nested(path, value), loc)
        if depth > best:
            best, line = depth, start
    return line


def _text(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
    except UnicodeDecodeError:
        raise Misconfigured("is not UTF-8", field=str(path)) from None
    if not text.strip():  # a full disk, or one who is just writing it; it would lift every rule
        raise Misconfigured("is empty", field=str(path))
    if len(text) > MAX_CHARS:
        raise Misconfigured(f"has more than {MAX_CHARS} characters", field=str(path))
    return text


def _where(error: Exception, text: str) -> str:
    """The parser's own message, which names a line except at the end."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return "a value is too large or nested too deeply"
    return str(error).replace("at end of document", f"at the end, line {text.count(chr(10)) + 1}")


def _explained(path: Path, text: str, error: ValidationError) -> Misconfigured:
    first = first_error(error)
    line = line_of(text, first.path)
    where = f"{path}, line {line}" if line else str(path)
    return Misconfigured(f"{first.message} ({where})", field=first.field)


def _statements(text: str) -> Iterator[tuple[int, list[str], dict[str, Any]]]:
    """Each statement: its line, the table it stands in, and what it says there.

    A statement is the shortest run of whole lines that is TOML by itself, so the parser alone
    knows about quotes, comments and values over several lines.
    """
    lines = text.split("\n")
    table: list[str] = []
    at = 0
    while at < len(lines):
        end, value = _one(lines, at)
        if re.match(r"\s*\[", lines[at]):
            table = _header(value)
            yield at + 1, table, {}
        elif value:
            yield at + 1, table, value
        at = end


def _one(lines: list[str], at: int) -> tuple[int, dict[str, Any]]:
    for end in range(at + 1, min(len(lines), at + _MAX_LINES_OF_ONE) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[at:end]))
        except ValueError:
            continue
    return at + 1, {}


def _header(value: dict[str, Any]) -> list[str]:
    """The path of `[a.b]` or `[[a.b]]` from what the parser makes of it alone."""
    path: list[str] = []
    inner: Any = value
    while isinstance(inner, dict) and inner:
        name, inner = next(iter(inner.items()))
        path.append(name)
    return path


def _nested(path: list[str], value: dict[str, Any]) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value


def _depth(value: Any, loc: Loc) -> int:
    """How many parts of the key are found in the value, from its root."""
    for depth, part in enumerate(loc):
        if not isinstance(value, dict) or part not in value:
            return depth
        value = value[part]
    return len(loc)
