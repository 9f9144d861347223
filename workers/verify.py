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
from typing import Any, Literal

from routing.jobs import (
    Check,
    Classification,
    Classify,
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
from workers.bounded import mismatch, violation
from workers.grounding import Source, words
from workers.loops import loops

Finish = Literal["stop", "length"]
AnyContent = Classification | Extraction | Summary | Generation | Embedding

#: An answer that fails one of these is no answer of its kind; it is not even given as degraded.
INDISPENSABLE = frozenset({"schema", "label", "kind"})

WORDS_OVER = 0.1  # a summary may be this share longer than asked, and always two words
SHARED = 0.33  # of a summary's longer words occur in its text, by stem; of a foreign text, under 0.3
UNIT = 1e-3  # a vector's length may differ from 1 by so much

_REFUSAL = re.compile(
    r"""\W*
    (?: (?: (?:i['\u2019]m|i\ am|we['\u2019]re|we\ are)\s )?
        (?: (?:very|so|really|truly)\s )? (?:sorry|afraid) \b .{0,40}? \b )?
    (?: (?:i|we)
        (?: \scan\s?not | \scan['\u2019]t | \swon['\u2019]t | \swill\snot
          | (?:['\u2019]m|\sam|['\u2019]re|\sare) \s (?:unable|not\sable) \s to )
        \s (?:\w+\s)?
        (?: help|assist|provide|comply|fulfil|create|generate|answer|write|do|discuss|continue
          | produce|share|support|offer|engage|process|complete|summari[sz]e )
      | as\san?\s (?:ai|artificial|large\slanguage|language\smodel) \b )
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*$")


def check(job: Job, content: AnyContent, *, finish: Finish = "stop") -> tuple[Check, ...]:
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


def _extraction(request: Extract, content: Extraction, finish: Finish) -> Iterator[Check]:
    leaves = list(_leaves(content.data))
    filled = [leaf for leaf in leaves if leaf is not None and leaf != ""]
    wrong = violation(request.schema_, content.data)
    yield _is("whole", finish == "stop", "cut off")
    yield _is("schema", wrong is None, wrong or "")
    yield _is("present", bool(filled), "no field is filled")
    yield _grounded(request, filled)
    yield _loops(" ".join(leaf for leaf in leaves if isinstance(leaf, str)))


def _grounded(request: Extract, leaves: Sequence[Any]) -> Check:
    """Values that the schema itself names (enumerations) need not occur in the text."""
    source, given = Source(request.text), list(_named(request.schema_))
    absent = [leaf for leaf in leaves if leaf not in given and not _occurs(source, leaf)]
    return _is("grounded", not absent, f"{len(absent)} of {len(leaves)} values are not in the text")


def _occurs(source: Source, leaf: Any) -> bool:
    if isinstance(leaf, bool):
        return True
    return source.has_text(leaf) if isinstance(leaf, str) else source.has_number(leaf)


def _summary(request: Summarize, content: Summary, finish: Finish) -> Iterator[Check]:
    source, text, count = Source(request.text), content.text, len(content.text.split())
    most = request.max_words + max(2, math.floor(request.max_words * WORDS_OVER))
    share = source.share_of(text)
    yield from _prose(text)
    yield _is("whole", finish == "stop" or bool(_END.search(text.strip())), "cut off")
    yield _is("length", count <= most, f"{count} words, at most {request.max_words} were asked")
    yield _is("own_words", not source.begins_with(text), "copies how the text begins")
    yield _is("on_topic", share is None or share >= SHARED, "shares few words with the text")
    yield _is("numbers", source.has_numbers_of(text), "has numbers that are not in the text")


def _generation(request: Generate, content: Generation, finish: Finish) -> Iterator[Check]:
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
    yield _loops(text)


def _loops(text: str) -> Check:
    return _is("repetition", not loops(text), "goes round in circles")


def _vectors(request: Embed, content: Embedding) -> Check:
    sizes = {len(vector) for vector in content.vectors}
    lengths = [math.sqrt(sum(value * value for value in vector)) for vector in content.vectors]
    good = (
        len(content.vectors) == len(request.texts)
        and len(sizes) == 1
        and all(abs(length - 1) <= UNIT for length in lengths)
    )
    return _is("vectors", good, "not one vector of unit length for each text")


def _leaves(node: Any) -> Iterator[Any]:
    """The values of a JSON document, without its containers; deep ones do not overflow a stack."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
        else:
            yield node


def _named(schema: Any) -> Iterator[Any]:
    """The values that a schema names itself."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            enum = node.get("enum")
            yield from enum if isinstance(enum, list) else ()
            yield from [node["const"]] if "const" in node else ()
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
