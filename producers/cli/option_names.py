"""Errors of a job in the words of the command line: the option to change, not the field."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from forebay.routing.base import KINDS
from forebay.routing.errors import CallerError, InvalidJob

#: The option that stands for each field of a job or of its request.
OPTIONS = {
    "cache": "--cache",
    "deadline": "--deadline",
    "egress": "--egress",
    "focus": "--focus",
    "idempotency_key": "--key",
    "labels": "--label",
    "lane": "--lane",
    "max_cost_usd": "--max-cost",
    "max_tokens": "--max-tokens",
    "max_words": "--max-words",
    "model": "--model",
    "metadata": "--meta",
    "priority": "--priority",
    "questions": "--question",
    "schema": "--schema",
    "state": "--state",
    "system": "--system",
    "tenant": "--tenant",
    "text": "--text",
    "texts": "--text",
}

#: The kinds that have a field, for each field that not every kind has.
KINDS_WITH_FIELD = {
    "labels": ("classify",),
    "questions": ("decide",),
    "state": ("decide",),
    "focus": ("summarize",),
    "max_words": ("summarize",),
    "max_tokens": ("generate",),
    "schema": ("extract", "generate"),
    "system": ("generate",),
}

MISSING_TEXT = "is needed: give the text after the kind, in --text, or in a file with --file"
_MISSING = {
    "labels": "is needed: name at least two",
    "questions": "is needed: such as 'spam: Is this spam?' or 'team [sales|support]: Which team?'",
    "schema": "is needed: a file with a JSON Schema, or the schema itself as '{...}'",
    "text": MISSING_TEXT,
}
_NAME_PATTERN = "lower-case letters, digits, - and _, at most 63, and begin with a letter or digit"
#: What replaces the words of a library in a message.
_PLAIN_WORDS = (
    (r"must be greater than or equal to", "must be at least"),
    (r"must be less than or equal to", "must be at most"),
    (r"must be greater than", "must be more than"),
    (r"must have at least 2 items, not \d+", _MISSING["labels"]),
    (r"must have at most (\d+) items, not (\d+)", r"may be given at most \1 times, not \2"),
    (r"must be '(\w+)' or '(\w+)'", r"must be \1 or \2"),
    (r"must be '(\w+)', '(\w+)' or '(\w+)'", r"must be \1, \2 or \3"),
    (r"must match pattern '\^\[a-z0-9\].*", f"must have only {_NAME_PATTERN}"),
    (r'\b(\w+)="(\w+)"', r"--\1 \2"),
)


@contextmanager
def in_option_names(source: str | None, given: Collection[str]) -> Iterator[None]:
    """Let an error about a field of a job name the option that stands for the field.

    Args:
        source: SOURCE of the command line, or `None` if the command has none. With a kind, every
            field comes from an option; with a file, only those that options override.
        given: the fields that options gave.

    Raises:
        CallerError: As it was raised inside, with the option instead of the field.
    """
    try:
        yield
    except CallerError as error:
        field, *path = (error.field or "").split(".")
        if field in {"messages", "content"} and source in KINDS:  # made from --text
            field = "text"
        if field in OPTIONS and (source in KINDS or field in given):
            raise type(error)(in_words(error, field, path), field=OPTIONS[field]) from None
        raise


def check_options_fit(
    kind: str, given: Collection[str], option_of: Callable[[str], str] = OPTIONS.__getitem__
) -> None:
    """Check that a job of this kind has the fields that options gave.

    `option_of` returns the option of a field.

    Raises:
        InvalidJob: An option is for other kinds; the error names them.
    """
    for field in given:
        kinds = KINDS_WITH_FIELD.get(field, KINDS)
        if kind not in kinds:
            message = f"is an option of {' and '.join(kinds)}, not of {kind}: remove it"
            raise InvalidJob(message, field=option_of(field))


def in_words(error: CallerError, field: str, path: Sequence[str]) -> str:
    """Return the message of an error in the words of the command line.

    Args:
        error: the error.
        field: the field of a job or of a request that is wrong.
        path: which part of the field is wrong, such as the place in a list.
    """
    if field == "questions" and path:
        place = ", ".join([f"number {int(path[0]) + 1}", *path[1:2]])
        return f"{place}: {error.message}"
    if error.message == "is missing, add it":
        return _MISSING.get(field, "is needed")
    message = error.message
    for pattern, words in _PLAIN_WORDS:
        message = re.sub(pattern, words, message)
    if field in {"labels", "texts"} and path and path[0].isdigit():
        return f"number {int(path[0]) + 1} {message}"
    return message
