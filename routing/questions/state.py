"""The state that questions are about: a text, or a JSON object or list of limited size."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from forebay.routing import json_tree
from forebay.routing.base import MAX_TEXT
from forebay.routing.errors import TooLong

MAX_STATE_DEPTH = 32  # levels of a state in JSON
MAX_STATE_PARTS = 10_000  # objects, lists and values of a state in JSON


def state_text(state: str | dict[str, Any] | list[Any]) -> str:
    """Return the state as a model reads it: a text as it is, anything else as JSON."""
    return state if isinstance(state, str) else json.dumps(state, ensure_ascii=False)


def _checked_state(state: Any) -> str | dict[str, Any] | list[Any]:
    """Return a text as it is, and an object or list as plain JSON.

    Raises:
        ValueError: It is neither, or empty, or JSON cannot hold it.
        TooLong: It is too long, too deep or has too many parts.
    """
    if not isinstance(state, str | dict | list | tuple):
        raise ValueError("must be text, or an object or a list of JSON")  # noqa: TRY004 - pydantic's
    if not (state.strip() if isinstance(state, str) else state):
        raise ValueError("must not be empty")
    plain: str | dict[str, Any] | list[Any]
    plain = _encodable(state) if isinstance(state, str) else _plain_json(state)
    if len(state_text(plain)) > MAX_TEXT:
        raise TooLong(f"must have at most {MAX_TEXT} characters", field="state")
    return plain


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can encode") from None
    return text


def _plain_json(state: Any) -> Any:
    """Return the state as its receiver will read it; the parts are counted before it is written."""
    parts = json_tree.nodes(state)
    if any(number >= MAX_STATE_PARTS for number, _ in enumerate(parts)):
        raise TooLong(f"must have at most {MAX_STATE_PARTS} parts", field="state")
    if json_tree.is_deeper_than(state, MAX_STATE_DEPTH):
        raise TooLong(f"must be nested at most {MAX_STATE_DEPTH} levels deep", field="state")
    try:
        return json.loads(_encodable(json.dumps(state, allow_nan=False, ensure_ascii=False)))
    except (TypeError, ValueError, RecursionError):
        raise ValueError("must hold only what JSON can hold") from None


State = Annotated[
    str | dict[str, Any] | list[Any],
    PlainValidator(_checked_state),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
                {"type": "object"},
                {"type": "array"},
            ]
        }
    ),
]
