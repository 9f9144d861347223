"""Deterministic checks of an answer: what can be known to be wrong without asking another model.

A failed check escalates a job, or marks its answer as degraded. The checks are strict if an error
would go unnoticed (a number that the text does not hold) and ignore formatting. Two kinds of right
answers fail them: an extraction whose values are computed rather than copied, and a summary in
another language than its text. Either costs an escalation, not a wrong answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from forebay.routing.jobs import (
    Check,
    Classification,
    Classify,
    Content,
    Embed,
    Embedding,
    Extract,
    Extraction,
    Generate,
    Generation,
    Job,
    Summarize,
    Summary,
)
from forebay.routing.json_tree import leaves, nodes
from forebay.workers.checks.grounding import Source, ends_sentence, named_options, words
from forebay.workers.checks.repetition import repeats_itself
from forebay.workers.checks.safe_validation import mismatch, violation
from forebay.workers.engines.engine import Ending

#: An answer that fails one of these checks is no answer of its kind, not even a degraded one.
INDISPENSABLE = frozenset({"kind", "label", "schema", "regex", "present", "vectors"})

EXTRA_LENGTH = 0.1  # share by which a summary may be longer than asked, and always by two words
MIN_SHARED_WORDS = 0.4  # share of a summary's longer words in its text; other topics reach 0.3
MIN_LOOP_OBJECTS = 4  # a list of so many objects, half of them or more equal, is a loop
MAX_LENGTH_ERROR = 1e-3  # by how much a vector's length may differ from 1

_REFUSAL = re.compile(
    r"""\W*
    (?: (?: (?:i['\u2019]m|i\ am|we['\u2019]re|we\ are)\s )?
        (?: (?:very|so|really|truly)\s )? (?:sorry|afraid) \b .{0,60}? \b )?
    (?: (?:i|we)
        (?: \scan\s?not | \scan['\u2019]t | \swon['\u2019]t | \swill\snot
          | (?:['\u2019]m|\sam|['\u2019]re|\sare) \s (?:unable|not\sable) \s to )
        \s (?:\w+\s)?
        (?: help|assist|provide|comply|fulfil|create|generate|answer|write|do|discuss|continue
          | produce|share|support|offer|engage|process|complete|summari[sz]e )
      | (?:\w+\s){0,9}? as\san?\s (?:ai|artificial|chatbot|large\slanguage|language\smodel) \b )
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_SENTENCES = re.compile(r"(?<=[.!?])\s+")


def check(job: Job, content: Content, *, finish: Ending = "stop") -> tuple[Check, ...]:
    """Return every check of this kind of answer, passed or not. Never raises.

    Args:
        job: the job that the content answers.
        content: the content, as `parsing.parse_answer` returns it.
        finish: `length` if the model was cut off.
    """
    match job.request, content:
        case Classify() as request, Classification():
            return (_label(request, content),)
        case Extract() as request, Extraction():
            return tuple(_extraction(request, content, finish))
        case Summarize() as request, Summary():
            return tuple(_summary(request, content, finish))
        case Generate() as request, Generation():
            return tuple(_generation(request, content, finish))
        case Embed() as request, Embedding():
            return (_vectors(request, content),)
        case _:
            return (Check(name="kind", passed=False, note="answers another kind"),)


def _check(name: str, passed: bool, note: str) -> Check:  # noqa: FBT001 - reads as a sentence
    """Return a check with a note if it failed. Notes never quote content."""
    return Check(name=name, passed=passed, note="" if passed else note)


# --- classify and embed --------------------------------------------------------------------------


def _label(request: Classify, content: Classification) -> Check:
    known = any(content.label == option.name for option in request.options)
    return _check("label", known, "is none of the labels")


def _vectors(request: Embed, content: Embedding) -> Check:
    sizes = {len(vector) for vector in content.vectors}
    lengths = [math.sqrt(sum(value * value for value in vector)) for vector in content.vectors]
    good = (
        len(content.vectors) == len(request.texts)
        and len(sizes) == 1
        and all(abs(length - 1) <= MAX_LENGTH_ERROR for length in lengths)
    )
    return _check("vectors", good, "not one vector of unit length for each text")


# --- extract -------------------------------------------------------------------------------------


def _extraction(request: Extract, content: Extraction, finish: Ending) -> Iterator[Check]:
    values = list(leaves(content.data))
    error = violation(request.schema_, content.data)
    yield _check("whole", finish == "stop", "cut off")
    yield _check("schema", error is None, error or "")
    has_value = any(value not in (None, "") for value in values)
    yield _check("filled", has_value, "no field has a value")
    yield _grounded(request, values)
    distinct = not _has_equal_fields(request, content)
    yield _check("distinct", distinct, "two fields have the same text")
    looped = any(repeats_itself(value) for value in values if isinstance(value, str))
    looped = looped or any(map(_mostly_equal, _lists(content.data)))
    yield _check("repetition", not looped, "repeats itself")


def _grounded(request: Extract, values: Iterable[Any]) -> Check:
    source, allowed = Source(request.text), list(_values_in_schema(request.schema_))
    absent = sum(not _is_grounded(source, allowed, value) for value in values)
    return _check("grounded", not absent, f"{absent} values are not in the text")


def _is_grounded(source: Source, allowed: Sequence[Sequence[Any]], value: Any) -> bool:
    """Return whether the text has the value.

    A value that the schema lists is grounded too, unless the text names another one of the list.
    """
    if value is None or value == "" or isinstance(value, bool):
        return True
    options = next((options for options in allowed if value in options), None)
    if options is not None:
        named = named_options(options, source)
        return not named or value in named
    return source.has_text(value) if isinstance(value, str) else source.has_number(value)


def _has_equal_fields(request: Extract, content: Extraction) -> bool:
    """Return whether one text fills two fields, as a model does that has found nothing else."""
    allowed = [value for values in _values_in_schema(request.schema_) for value in values]
    filled = [value for value in content.data.values() if isinstance(value, str) and value]
    free = [value for value in filled if value not in allowed]
    return len(set(free)) < len(free)


def _values_in_schema(schema: Any) -> Iterator[Sequence[Any]]:
    """Yield the lists of values that a schema allows: each `enum`, and each `const` as a list."""
    for node in nodes(schema):
        if isinstance(node, dict):
            enum = node.get("enum")
            yield from [enum] if isinstance(enum, list) else []
            yield from [[node["const"]]] if "const" in node else []


def _lists(document: Any) -> Iterator[list[Any]]:
    return (node for node in nodes(document) if isinstance(node, list))


def _mostly_equal(items: list[Any]) -> bool:
    objects = [json.dumps(item, sort_keys=True) for item in items if isinstance(item, dict)]
    return len(objects) >= MIN_LOOP_OBJECTS and len(set(objects)) <= len(objects) // 2


# --- summarize and generate ----------------------------------------------------------------------


def _summary(request: Summarize, content: Summary, finish: Ending) -> Iterator[Check]:
    source, text, count = Source(request.text), content.text, len(content.text.split())
    limit = request.max_words + max(2, math.floor(request.max_words * EXTRA_LENGTH))
    share = source.share_of(text)
    on_topic = share is None or share >= MIN_SHARED_WORDS
    yield from _prose(text)
    yield _check("once", not _repeats_a_sentence(text), "says a sentence twice")
    yield _check("whole", finish == "stop" or ends_sentence(text), "cut off")
    yield _check("length", count <= limit, f"{count} words, at most {request.max_words} were asked")
    yield _check("own_words", not source.begins_with(text), "copies the beginning of the text")
    yield _check("on_topic", on_topic, "shares few words with the text")
    yield _check("numbers", source.has_numbers_of(text), "has numbers that are not in the text")
    yield _check("names", source.has_names_of(text), "has names that are not in the text")


def _repeats_a_sentence(text: str) -> bool:
    sentences = [tuple(words(sentence)) for sentence in _SENTENCES.split(text)]
    sentences = [sentence for sentence in sentences if sentence]
    return len(set(sentences)) < len(sentences)


def _generation(request: Generate, content: Generation, finish: Ending) -> Iterator[Check]:
    yield from _prose(content.text)
    yield _check("whole", "length" not in (finish, content.finish), "cut off")
    if request.regex is not None:
        error = mismatch(request.regex, content.text)
        yield _check("regex", error is None, error or "")
    if request.schema_ is not None:
        error = _json_violation(request.schema_, content.text)
        yield _check("schema", error is None, error or "")


def _json_violation(schema: dict[str, Any], text: str) -> str | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON"
    return violation(schema, data)


def _prose(text: str) -> Iterator[Check]:
    yield _check("present", bool(words(text)), "no words")
    yield _check("answers", _REFUSAL.match(text) is None, "declines")
    yield _check("repetition", not repeats_itself(text), "repeats itself")
