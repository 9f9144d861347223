"""The prompts of `generate`: the caller's chat, and for a frontier model the form of the answer."""

from __future__ import annotations

import json

from forebay.routing.base import made
from forebay.routing.jobs import Generate
from forebay.workers.engines.engine import Constraint, JsonSchema, Pattern, Turn

_FROM_ITS_BEGINNING = (
    "Your last message is the beginning of your answer, which must be, as a whole,"
)


def frontier_turns(request: Generate) -> list[Turn]:
    """Return the chat, after a system turn that asks for the form of the answer if there is one."""
    chat = local_turns(request)
    if request.schema_ is not None:
        form = f"JSON that validates against this JSON Schema: {json.dumps(request.schema_)}"
    elif request.regex is not None:
        form = f"a text that matches, as a whole, this regular expression: {request.regex}"
    else:
        return chat
    asked = "Answer with" if request.prefill is None else _FROM_ITS_BEGINNING
    return [Turn(role="system", content=f"{asked} {form}\nand nothing else."), *chat]


def local_turns(request: Generate) -> list[Turn]:
    """Return the chat; if nobody but the system speaks last, its last message is the user's turn.

    Templates and frontier services answer a user. A local engine enforces the form of the answer.
    """
    turns = [made(Turn, role=one.role, content=one.content) for one in request.messages]
    speakers = [turn.role for turn in turns if turn.role != "system"]
    if turns[-1].role == "system" and speakers[-1:] != ["user"]:
        turns[-1] = Turn(role="user", content=turns[-1].content)
    return turns


def local_constraint(request: Generate) -> Constraint | None:
    """Return the constraint on a local model: the regular expression or the schema."""
    if request.regex is not None:
        return Pattern(regex=request.regex)
    return frontier_constraint(request)


def frontier_constraint(request: Generate) -> JsonSchema | None:
    """Return the schema. No frontier service enforces a regular expression; the checks do."""
    return None if request.schema_ is None else JsonSchema(schema_=request.schema_)


def max_tokens(request: Generate) -> int:
    """Return how many tokens the answer may have: what the caller asks for."""
    return request.max_tokens
