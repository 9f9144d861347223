"""Deterministic checks of an answer: what can be known to be wrong without asking another model.

A failed check sends a job up the ladder, or marks its answer as degraded. The checks are strict
where an error is silent (a number that the text does not hold) and forgive formatting. An
extraction whose values are computed rather than found, or a summary in another language than its
text, fails them; that costs an escalation, not a wrong answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
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
from forebay.workers.checks.grounding import Source, ends, named_options, words
from forebay.workers.checks.repetition import repeats_itself
from forebay.workers.checks.safe_validation import mismatch, violation
from forebay.workers.engines.engine import Ending

#: An answer that fails one of these is no answer of its kind; it is not even given as degraded.
INDISPENSABLE = frozenset({"kind", "label", "schema", "regex", "present", "vectors"})

WORDS_OVER = 0.1  # a summary may be this share longer than asked, and always two words
SHARED = 0.4  # of a summary's longer words occur in its text, by stem; in a foreign one, to 0.3
LOOPED = 4  # objects of a list of which half or more are the same
UNIT = 1e-3  # a vector's length may differ from 1 by so much

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
    """Every check that this kind of answer has, passed or not. Never raises.

    Args:
        job: what was asked.
        content: what came back, as `prompts.read` made it.
        finish: `length` where the model was cut off.
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


def _is(name: str, passed: bool, note: str) -> Check:  # noqa: FBT001 - reads as a sentence
    return Check(name=name, passed=passed, note="" if passed else note)


def _label(request: Classify, content: Classification) -> Check:
    known = any(content.label == option.name for option in request.options)
    return _is("label", known, "is none of the labels")


def _extraction(request: Extract, content: Extraction, finish: Ending) -> Iterator[Check]:
    leaves = list(_leaves(content.data))
    texts = [leaf for leaf in leaves if isinstance(leaf, str)]
    wrong = violation(request.schema_, content.data)
    yield _is("whole", finish == "stop", "cut off")
    yield _is("schema", wrong is None, wrong or "")
    yield _is("filled", any(leaf not in (None, "") for leaf in leaves), "no field has a value")
    yield _grounded(request, content.data)
    yield _is("distinct", not _shares_a_value(request, content), "two fields have the same text")
    circles = any(map(repeats_itself, texts)) or any(map(_mostly_same, _lists(content.data)))
    yield _is("repetition", not circles, "goes round in circles")


def _grounded(request: Extract, data: dict[str, Any]) -> Check:
    source, given = Source(request.text), list(_given(request.schema_))
    absent = sum(not _occurs(source, given, leaf) for leaf in _leaves(data))
    return _is("grounded", not absent, f"{absent} values are not in the text")


def _occurs(source: Source, given: Sequence[Sequence[Any]], leaf: Any) -> bool:
    """Whether the text has the value, or the schema gives it and the text names no other option."""
    if leaf is None or leaf == "" or isinstance(leaf, bool):
        return True
    options = next((options for options in given if leaf in options), None)
    if options is not None:
        named = named_options(options, source)
        return not named or leaf in named
    return source.has_text(leaf) if isinstance(leaf, str) else source.has_number(leaf)


def _shares_a_value(request: Extract, content: Extraction) -> bool:
    """Whether one text fills two fields, as a model does that has found nothing else."""
    given = [option for options in _given(request.schema_) for option in options]
    filled = [value for value in content.data.values() if isinstance(value, str) and value]
    free = [value for value in filled if value not in given]
    return len(set(free)) < len(free)


def _mostly_same(items: list[Any]) -> bool:
    objects = [json.dumps(item, sort_keys=True) for item in items if isinstance(item, dict)]
    return len(objects) >= LOOPED and len(set(objects)) <= len(objects) // 2


def _summary(request: Summarize, content: Summary, finish: Ending) -> Iterator[Check]:
    source, text, count = Source(request.text), content.text, len(content.text.split())
    most = request.max_words + max(2, math.floor(request.max_words * WORDS_OVER))
    share = source.share_of(text)
    yield from _prose(text)
    yield _is("once", not _says_twice(text), "says a sentence twice")
    yield _is("whole", finish == "stop" or ends(text), "cut off")
    yield _is("length", count <= most, f"{count} words, at most {request.max_words} were asked")
    yield _is("own_words", not source.begins_with(text), "copies how the text begins")
    yield _is("on_topic", share is None or share >= SHARED, "shares few words with the text")
    yield _is("numbers", source.has_numbers_of(text), "has numbers that are not in the text")
    yield _is("names", source.has_names_of(text), "has names that are not in the text")


def _says_twice(text: str) -> bool:
    said = [tuple(words(sentence)) for sentence in _SENTENCES.split(text)]
    said = [sentence for sentence in said if sentence]
    return len(set(said)) < len(said)


def _generation(request: Generate, content: Generation, finish: Ending) -> Iterator[Check]:
    yield from _prose(content.text)
    yield _is("whole", "length" not in (finish, content.finish), "cut off")
    if request.regex is not None:
        wrong = mismatch(request.regex, content.text)
        yield _is("regex", wrong is None, wrong or "")
    if request.schema_ is not None:
        wrong = _json_violation(request.schema_, content.text)
        yield _is("schema", wrong is None, wrong or "")


def _json_violation(schema: dict[str, Any], text: str) -> str | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON"
    return violation(schema, data)


def _prose(text: str) -> Iterator[Check]:
    yield _is("present", bool(words(text)), "no words")
    yield _is("answers", _REFUSAL.match(text) is None, "declines")
    yield _is("repetition", not repeats_itself(text), "goes round in circles")


def _vectors(request: Embed, content: Embedding) -> Check:
    sizes = {len(vector) for vector in content.vectors}
    lengths = [math.sqrt(sum(value * value for value in vector)) for vector in content.vectors]
    good = (
        len(content.vectors) == len(request.texts)
        and len(sizes) == 1
        and all(abs(length - 1) <= UNIT for length in lengths)
    )
    return _is("vectors", good, "not one vector of unit length for each text")


def _nodes(root: Any) -> Iterator[Any]:
    """Every part of a JSON document; without recursion, so that a deep one is no danger."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _leaves(root: Any) -> Iterator[Any]:
    return (node for node in _nodes(root) if not isinstance(node, dict | list))


def _lists(root: Any) -> Iterator[list[Any]]:
    return (node for node in _nodes(root) if isinstance(node, list))


def _given(schema: Any) -> Iterator[Sequence[Any]]:
    """The lists of values that a schema itself gives."""
    for node in _nodes(schema):
        if isinstance(node, dict):
            enum = node.get("enum")
            yield from [enum] if isinstance(enum, list) else []
            yield from [[node["const"]]] if "const" in node else []
