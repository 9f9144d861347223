"""Questions as a line of text: `NAME [a|b|c]: instructions`, or `QUESTION=a,b,c`."""

from __future__ import annotations

import re
from typing import Any

from forebay.routing.errors import InvalidJob
from forebay.routing.json_tree import read_json

_QUESTION = re.compile(r"([^:\[\]]+)(?:\[([^\]]*)\]\s*)?:\s*(.+)", re.DOTALL)
_RANGE = re.compile(r"(-?\d{1,9})\s*\.\.\s*(-?\d{1,9})")

FORMS = "must be 'NAME: a question' or 'NAME [options]: a question'; see --help"
NO_QUESTIONS = "must hold a JSON array of questions, or one question a line"
CHOICE_FORM = "must be 'QUESTION=option,option', such as 'urgent?=yes,no'"


def questions(text: str) -> list[Any]:
    """Return questions from a JSON array, an object with `questions`, or one short form a line.

    Raises:
        InvalidJob: It is none of these.
    """
    if text.lstrip().startswith(("[", "{")):
        found = read_json(text)
        found = found.get("questions", [found]) if isinstance(found, dict) else found
    else:
        found = [line for line in text.splitlines() if line.strip()]
    if not isinstance(found, list) or not found:
        raise InvalidJob(NO_QUESTIONS)
    return [question(one) if isinstance(one, str) else one for one in found]


def question(text: str) -> dict[str, Any]:
    """Return a question from its short form, or from JSON.

    `NAME: ...` asks for yes or no, `NAME [a|b|c]: ...` for a choice, and `NAME [1..5]: ...` or
    `NAME [low<mid<high]: ...` for a score. `unsure` may be one more option of each.

    Raises:
        InvalidJob: It has none of the forms.
    """
    if text.lstrip().startswith("{"):
        found: dict[str, Any] = read_json(text)
        return found
    match = _QUESTION.fullmatch(text.strip())
    if not match:
        raise InvalidJob(FORMS)
    name, listed, instructions = match.groups()
    given = [each.strip() for each in listed.split("|")] if listed else []
    options = [each for each in given if each != "unsure"]
    unsure = {"unsure": True} if options != given else {}
    return {"name": name.strip(), "instructions": instructions, **unsure, **_answers(options)}


def choice(text: str) -> dict[str, Any]:
    """Return a choice, as JSON has it, from `QUESTION=option,option`.

    The question is its name too, without a question mark at its end.

    Raises:
        InvalidJob: It has another form, or fewer than two options.
    """
    asked, mark, listed = (part.strip() for part in text.rpartition("="))
    name = asked.rstrip("?").strip()
    if not mark or not name:
        raise InvalidJob(CHOICE_FORM)
    first, *others = options = [option.strip() for option in re.split(r"[,|]", listed)]
    if not (first and others and all(others)):
        raise InvalidJob("must have at least two options after =, with commas between them")
    return {"type": "choice", "name": name, "instructions": asked, "choices": options}


def _answers(options: list[str]) -> dict[str, Any]:
    """Return the type of a question, and what may answer it, by the options in its brackets."""
    if not options:
        return {"type": "predicate"}
    only = options[0] if len(options) == 1 else ""
    if bounds := _RANGE.fullmatch(only):
        return {"type": "score", "minimum": int(bounds[1]), "maximum": int(bounds[2])}
    if "<" in only:
        return {"type": "score", "levels": [level.strip() for level in only.split("<")]}
    return {"type": "choice", "choices": options}
