"""Answers of the mock: the reference answers of known texts, or else something made of the text.

No model reads the text, so an answer is simple: the first sentence as a summary, a label that the
text names, a minimal instance of a schema, or the question in other words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from forebay.routing.errors import InvalidJob
from forebay.routing.questions.state import state_text
from forebay.workers.engines.batching.schema_instances import minimal_instance

UNKNOWN = "This is the mock of Bedrock: no model read this text."
SUMMARY = "In short: {}"
ECHO = "The mock of Bedrock, which is no model, was asked: {}"
MAX_ECHOED_WORDS = 40
SURE = 0.9  # the probability of the option that is chosen for a question

# The instructions of the frontier prompts (`forebay.workers.prompts`), which begin a prompt.
_SUMMARIZE = re.compile(r"\ASummarize a text .*?in at most (\d+) words\.", re.DOTALL)
_CLASSIFY = re.compile(r"\AClassify a text\. .*?:\n(.*?)\n\nThe text stands between <", re.DOTALL)
_JSON_SCHEMA = re.compile(
    r"\A(?:Extract facts from a text|Answer with JSON) .*?JSON Schema: ", re.DOTALL
)
_DECIDE = re.compile(r"\ADecide questions about a text\.")
_JUDGE = re.compile(r"\AYou check the work of an assistant\.")
_REGEX = re.compile(r"\AAnswer with a text that matches")
_TEXT = re.compile(r"<(text(?:-\d+)?)>\n(.*)\n</\1>\s*\Z", re.DOTALL)
_SENTENCE = re.compile(r"\S.*?(?:[.!?\u2026]+(?=\s|$)|[\u3002\uff01\uff1f]|$)", re.DOTALL)
_LABEL = re.compile(r"^- (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Reference:
    """The main text of a sample job, and the sample's reference answer."""

    text: str
    answer: str
    is_object: bool


class References:
    """The reference answers of a sample file: JSON lines with `request` and `reference`."""

    def __init__(self, samples: Path | None = None) -> None:
        lines = samples.read_text("utf-8").splitlines() if samples else []
        references = [_reference(json.loads(line)) for line in lines if line.strip()]
        self._references = [reference for reference in references if reference is not None]

    def answer(self, prompt: str, schema: dict[str, Any] | None) -> str:
        """Return the answer to the longest known text in the prompt, or one made of the prompt.

        With a schema, JSON objects are preferred, and an unknown text is answered with a minimal
        instance of the schema.
        """
        matches = [reference for reference in self._references if reference.text in prompt]
        if matches:
            has_schema = schema is not None
            return max(
                matches, key=lambda match: (match.is_object == has_schema, len(match.text))
            ).answer
        if schema is not None and _DECIDE.match(prompt):
            return _decisions(_text(prompt), schema)
        return _instance(schema) if schema is not None else _answer(prompt)


def _answer(prompt: str) -> str:
    """Return an answer to a prompt of Forebay, by its kind; an echo of any other prompt."""
    if summarize := _SUMMARIZE.match(prompt):
        return _summary(_text(prompt), int(summarize[1]))
    if classify := _CLASSIFY.match(prompt):
        return _label(_text(prompt), classify[1])
    if form := _JSON_SCHEMA.match(prompt):
        return _instance(json.JSONDecoder().raw_decode(prompt, form.end())[0])
    if _JUDGE.match(prompt) or _REGEX.match(prompt):  # it takes a model to answer these
        return UNKNOWN
    return _echo(prompt)


def _text(prompt: str) -> str:
    """Return the text between the marks at the end of a prompt."""
    marked = _TEXT.search(prompt)
    return marked[2] if marked else prompt


def _summary(text: str, max_words: int) -> str:
    """Return the first sentence, not as the text begins, in at most so many words."""
    sentence = _SENTENCE.search(text)
    words = SUMMARY.format(sentence[0] if sentence else text).split()
    if len(words) <= max_words:
        return " ".join(words)
    return " ".join(words[:max_words]).rstrip(".,;:!?") + "."


def _label(text: str, menu: str) -> str:
    """Return the first label that the text names; it takes a model to choose another one."""
    labels: list[str] = [line.partition(": ")[0] for line in _LABEL.findall(menu)]
    return next((label for label in labels if label.casefold() in text.casefold()), UNKNOWN)


def _decisions(text: str, schema: dict[str, Any]) -> str:
    """Return for each question the first option that the text names, or else the first option."""
    words = text.casefold()
    stated = {}
    for name, question in schema["properties"].items():
        options = question["items"]["properties"]["option"]["enum"]
        chosen = next((option for option in options if option.casefold() in words), options[0])
        other = next(option for option in options if option != chosen)
        stated[name] = [
            {"option": chosen, "probability": SURE}, {"option": other, "probability": 1 - SURE}
        ]  # fmt: skip
    return json.dumps(stated, ensure_ascii=False)


def _echo(prompt: str) -> str:
    """Return the last line of the prompt, cut to some words, as what was asked."""
    lines = [line for line in prompt.splitlines() if line.strip()]
    words = lines[-1].split() if lines else []
    if not words:
        return UNKNOWN
    cut = "" if len(words) <= MAX_ECHOED_WORDS else " \u2026"
    return ECHO.format(" ".join(words[:MAX_ECHOED_WORDS]) + cut)


def _instance(schema: dict[str, Any]) -> str:
    return _instance_of(json.dumps(schema))


@lru_cache(maxsize=256)
def _instance_of(schema: str) -> str:
    try:
        return json.dumps(minimal_instance(json.loads(schema)))
    except InvalidJob:  # it takes a model to fill this schema
        return UNKNOWN


def _reference(sample: dict[str, Any]) -> Reference | None:
    """Return a sample's text and answer; `None` if it has no answer or no text."""
    request, answer = sample["request"], sample.get("reference")
    turns = request.get("messages") or [{"content": ""}]
    state = request.get("state", "")
    text = request.get("text") or turns[-1]["content"] or state_text(state)
    if answer is None or not text.strip():
        return None
    answer_text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Reference(text.strip(), answer_text, isinstance(answer, dict))
