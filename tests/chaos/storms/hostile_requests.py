"""Small requests whose checks would take for ever, or would fill memory, without a budget.

Their answers are a few words to the echo engine, so that it is the checks that take the time.

Each maker takes a mark for the text. The echo engine answers what the text tells it to say.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Classify, Extract, Generate, Label, Message, Request, Summarize

LEVELS = 22  # of nested schemas: each level more than doubles a validator's work
OPTIONS = 4_000
OBJECTS = 3_000


def hostile(dice: random.Random, mark: str) -> Request | None:
    """Return a hostile request, drawn anew; None if it is refused already when it is made."""
    try:
        return dice.choice(MAKERS)(dice, mark)
    except ForebayError:
        return None


def _extract(schema: dict[str, Any], answer: Any, mark: str, text: str = "") -> Extract:
    say = json.dumps(answer, separators=(",", ":"))
    return Extract(text=f"[[echo: say={say}]] {mark} {text}", schema=schema)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def nested_unevaluated(dice: random.Random, mark: str) -> Request:
    """Nest `allOf` under `unevaluatedProperties`."""
    schema: dict[str, Any] = _object(a={"type": "string"}) | {"unevaluatedProperties": False}
    for _ in range(LEVELS + dice.randrange(3)):
        schema = {"type": "object", "allOf": [schema], "unevaluatedProperties": False}
    return _extract(schema, {"a": "x"}, mark)


def nested_choices(dice: random.Random, mark: str) -> Request:
    """Nest `anyOf` or `oneOf` with two branches that both have to be tried."""
    word = dice.choice(("anyOf", "oneOf"))
    web: dict[str, Any] = {f"d{LEVELS}": {"type": "integer"}}
    for level in range(LEVELS):
        below = {"$ref": f"#/$defs/d{level + 1}"}
        web[f"d{level}"] = {word: [{"allOf": [below], "minimum": 3}, {"allOf": [below]}]}
    return _extract(_object(a={"$ref": "#/$defs/d0"}) | {"$defs": web}, {"a": "no"}, mark)


def unique_objects(_: random.Random, mark: str) -> Request:
    """Let many objects be compared with each other."""
    items = {"type": "array", "items": {"type": "object"}, "uniqueItems": True}
    answer = {"a": [{"n": {"v": number}} for number in range(OBJECTS)]}
    return _extract(_object(a=items), answer, mark)


def giant_enum(_: random.Random, mark: str) -> Request:
    """Look thousands of options up in a long text."""
    options = [f"{number:04x}" for number in range(OPTIONS)]
    lists = {f"l{at}": options[at : at + 1_000] for at in range(0, OPTIONS, 1_000)}
    fields = {name: {"type": "array", "items": {"enum": some}} for name, some in lists.items()}
    answer = {name: some[:3] for name, some in lists.items()}
    return _extract(_object(**fields), answer, mark, "qq " * 30_000)


def catastrophic_pattern(dice: random.Random, mark: str) -> Request:
    """Let a regular expression backtrack without end."""
    pattern = dice.choice((r"^(a+)+$", r"^(a|aa)+$", r"^([a-z]+)*\d$", r"^(.*)*x$"))
    value = {"type": "string", "pattern": pattern}
    return _extract(_object(a=value), {"a": "a" * 60 + "!"}, mark)


def catastrophic_names(_: random.Random, mark: str) -> Request:
    """Let the names of properties backtrack without end."""
    schema = {"type": "object", "patternProperties": {r"^(a+)+$": {"type": "integer"}}}
    return _extract(schema, {"a" * 60 + "!": 1}, mark)


def reference_web(_: random.Random, mark: str) -> Request:
    """Let each definition refer twice to the next."""
    web: dict[str, Any] = {
        f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(LEVELS)
    }
    schema = _object(a={"$ref": "#/$defs/d0"})
    return _extract(schema | {"$defs": {**web, f"d{LEVELS}": {"minLength": 9}}}, {"a": "x"}, mark)


def deep_answer(_: random.Random, mark: str) -> Request:
    """Answer a recursive schema with an object that is nested too deep."""
    schema = _object(a={"type": "string"}) | {"additionalProperties": {"$ref": "#"}}
    answer: dict[str, Any] = {"a": "x"}
    for _depth in range(400):
        answer = {"a": "x", "b": answer}
    return _extract(schema, answer, mark)


def catastrophic_regex(_: random.Random, mark: str) -> Request:
    """Constrain an answer by a pattern that backtracks."""
    text = f"[[echo: say={'a' * 60}!]] {mark}"
    return Generate(messages=[Message(role="user", content=text)], regex=r"(a+)+b")


def many_labels(_: random.Random, mark: str) -> Request:
    """Offer many labels with long descriptions."""
    labels = [Label(name=f"label {number}", description="word " * 100) for number in range(100)]
    return Classify(text=f"label 7 {mark} {'word ' * 2_000}", labels=labels)


def repeated_text(_: random.Random, mark: str) -> Request:
    """Answer a text that repeats itself with that text."""
    words = "word,and," * 8_000
    return Summarize(text=f"[[echo: say={words}]] {mark} {words}", max_words=2_000)


MAKERS: tuple[Callable[[random.Random, str], Request], ...] = (
    nested_unevaluated, nested_choices, unique_objects, giant_enum, catastrophic_pattern,
    catastrophic_names, reference_web, deep_answer, catastrophic_regex, many_labels, repeated_text,
)  # fmt: skip
