"""Read a TOML file that an operator wrote, and check it against a model."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from forebay.routing.base import first_error
from forebay.routing.errors import Misconfigured

MAX_CHARS = 1_000_000

_MESSAGES = {
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be an array",
}

T = TypeVar("T", bound=BaseModel)


def read(
    path: Path, cls: type[T], parse_float: Callable[[str], Any] = float, *, variable: str
) -> T:
    """Return the content of a file as a model.

    Args:
        path: the file.
        cls: the model.
        parse_float: reads a number with a point.
        variable: the setting that names the file.

    Raises:
        Misconfigured: Names the file and the key; or the variable and the file, and the line if it
            is not TOML. It never repeats a value of the file.
    """
    try:
        text = path.read_text("utf-8")
        if not text.strip():  # a full disk, or an editor that is writing; it would lift every rule
            raise Misconfigured(f"{path} is empty, write it again", field=variable)
        if len(text) > MAX_CHARS:
            message = f"{path} must have at most {MAX_CHARS} characters"
            raise Misconfigured(message, field=variable)
        return cls.model_validate(tomllib.loads(text, parse_float=parse_float))
    except ValidationError as error:
        first = first_error(error)
        message = _MESSAGES.get(first.type, first.message)
        if first.type == "extra_forbidden":
            message = _unknown(str(first.path[-1]), cls)
        raise Misconfigured(f"{message} (in {path})", field=_key(first.path)) from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}", field=variable) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is not TOML: {error}", field=variable) from None
    except (ValueError, ArithmeticError, RecursionError):
        message = f"{path} has a value that is too large or nested too deeply"
        raise Misconfigured(message, field=variable) from None


def _unknown(name: str, cls: type[BaseModel]) -> str:
    """Return what is wrong with a key that its table does not have."""
    schema = cls.model_json_schema()
    tables = (schema, *schema.get("$defs", {}).values())
    known = {key for table in tables for key in table.get("properties", ())}
    if name in known:
        return "is a key of another table, move or remove it"
    close = get_close_matches(name[:60], sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else "correct its spelling or remove it"
    return f"is not a known key, {hint}"


def _key(path: Sequence[str | int]) -> str:
    """Return a key as the file writes it: `[defaults.pace] share`, `[models.m] bands[0].input`."""
    names = [_quoted(part) for part in takewhile(lambda part: isinstance(part, str), path)]
    below = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path[len(names) :]]
    table = f"[{'.'.join(names[:-1])}] " if names[1:] else ""
    return table + "".join([*names[-1:], *below])


def _quoted(name: str | int) -> str:
    text = str(name)[:60]
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text)
