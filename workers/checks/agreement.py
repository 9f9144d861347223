"""Compare two answers to one question: how far they agree, from 0 to 1. No model is asked.

Formatting is ignored, content is not: `18`, `$18.00` and `#### 18` are one answer, `18` and `19`
are two. If an answer comes down to a number, a choice, a yes, a date or a literal (`[1, 2]`), that
alone is compared, and the agreement is 0 or 1. Documents are compared field by field. Prose is
compared by its key facts, and by its meaning if there is an encoder, else by its words.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable
from decimal import Decimal
from operator import mul
from typing import Any

from forebay.routing.jobs import (
    Classification,
    Content,
    Decisions,
    Extraction,
    Generation,
    QuestionAnswer,
    Summary,
)
from forebay.routing.json_tree import leaves_by_path
from forebay.routing.questions.questions import UNSURE
from forebay.workers.checks import final_answer
from forebay.workers.checks.final_answer import (
    Moment,
    equal,
    final_number,
    folded,
    is_literal,
    numbers,
)
from forebay.workers.checks.reading import literals
from forebay.workers.checks.reading.dates import Date
from forebay.workers.checks.reading.words import words
from forebay.workers.engines.engine import Vectors

Embed = Callable[[list[str]], Vectors]

MAX_JSON_DEPTH = 32  # levels; what lies deeper is compared as a whole

#: The names of the field that holds the answer, and of fields beside it that only explain it.
ANSWER_FIELDS = frozenset({"answer", "final_answer"})
EXPLAINING_FIELDS = frozenset(
    {
        "reasoning",
        "reason",
        "rationale",
        "explanation",
        "steps",
        "thought",
        "thoughts",
        "confidence",
    }
)

#: The empty value, as languages of programs write it.
NOTHING = frozenset({"none", "null", "nil"})

_AROUND = " \t\r\n*_`.$"  # formatting around a literal
_EDGES = " \t\r\n*_`\"'.$"
_NAME = re.compile(r"(?<=[\w,;)] )[A-Z]\w{2,}")  # a capitalised word inside a sentence


def contents(first: Content, second: Content, embed: Embed | None = None) -> float:
    """Return how far two answers of one kind agree; 0 for different kinds, and for vectors.

    Args:
        first: an answer.
        second: another answer to the same job.
        embed: makes vectors of unit length of texts; with it prose is compared by meaning.

    Raises:
        Exception: Whatever `embed` raises.
    """
    match first, second:
        case Classification(), Classification():
            return float(first.label == second.label)
        case Decisions(), Decisions():
            return decisions(first, second)
        case Extraction(), Extraction():
            return fields(first.data, second.data)
        case Summary(), Summary():
            return _prose(first.text, second.text, embed)
        case Generation(), Generation():
            return _texts(first.text, second.text, lambda one, other: _prose(one, other, embed))
        case _:
            return 0.0


def texts(one: str, other: str) -> float:
    """Return how far two texts agree: in their final answers, or else in their words."""
    return _texts(one, other, _word_overlap)


def decisions(first: Decisions, second: Decisions) -> float:
    """Return the mean agreement over the questions: of what was chosen, or of two scores."""
    answers = {answer.name: answer for answer in second.answers}
    agreed = [
        _answers(answer, answers[answer.name]) if answer.name in answers else 0.0
        for answer in first.answers
    ]
    return sum(agreed) / len(agreed)


def _answers(one: QuestionAnswer, other: QuestionAnswer) -> float:
    """Return 1 for the same choice; of two levels, 1 less how far apart their scores are."""
    levels = sum(name != UNSURE for name in one.probabilities)
    if UNSURE in (one.chosen, other.chosen) or one.score is None or other.score is None:
        return float(one.chosen == other.chosen)
    return max(0.0, 1 - abs(one.score - other.score) / max(1, levels - 1))


def fields(one: Any, other: Any) -> float:
    """Return the mean agreement over all leaves of two JSON documents; a missing leaf counts 0."""
    first = leaves_by_path(one, max_depth=MAX_JSON_DEPTH)
    second = leaves_by_path(other, max_depth=MAX_JSON_DEPTH)
    paths = first.keys() | second.keys()
    if not paths:
        return 1.0
    agreed = (_leaf_values(first.get(path), second.get(path)) for path in paths)
    return sum(agreed) / len(paths)


# --- texts ---------------------------------------------------------------------------------------


def _texts(one: str, other: str, compare_prose: Callable[[str, str], float]) -> float:
    one, other = _unwrapped(one), _unwrapped(other)
    cores = tuple(final_answer.core_of(text).strip(_AROUND) for text in (one, other))
    documents = tuple(map(literals.document, cores))
    if type(documents[0]) is type(documents[1]) and documents[0] is not None:
        return fields(*documents)
    if any(literals.container(core) is not None for core in cores):
        return float(literals.in_brackets(cores[0]) and literals.same(*cores))
    if all(map(_is_quoted, cores)):
        return float(cores[0].strip()[1:-1] == cores[1].strip()[1:-1])
    if {folded(one), folded(other)} <= NOTHING:
        return 1.0
    if folded(one) == folded(other):
        return float(one.strip(_EDGES) == other.strip(_EDGES) or not _are_codes(one, other))
    return _final_answers(one, other, compare_prose)


def _are_codes(one: str, other: str) -> bool:
    """Return whether texts differ in the case of words that have capitals inside in both."""
    pairs = zip(one.strip(_EDGES).split(), other.strip(_EDGES).split(), strict=True)
    return any(first != second and _is_code(first) and _is_code(second) for first, second in pairs)


def _is_code(word: str) -> bool:
    return word[1:] not in {word[1:].lower(), word[1:].upper()}


def _unwrapped(text: str) -> str:
    """Return the answer in a JSON object that holds it beside nothing but explanations."""
    document = literals.document(text := literals.without_fence(text))
    if not isinstance(document, dict):
        return text
    answers = [name for name in document if name in ANSWER_FIELDS]
    if len(answers) != 1 or not document.keys() <= ANSWER_FIELDS | EXPLAINING_FIELDS:
        return text
    answer = document[answers[0]]
    return answer if isinstance(answer, str) else json.dumps(answer)


def _is_quoted(text: str) -> bool:
    """Return whether a text is a literal of a text, in which case and spaces count."""
    core = text.strip()
    return len(core) > 1 and core[0] == core[-1] and core[0] in "'\""


def _final_answers(one: str, other: str, compare_prose: Callable[[str, str], float]) -> float:
    """Return 0 or 1 if both texts have a final answer, or else what `compare_prose` returns."""
    if any(final_answer.final_moment(text, whole=True) for text in (one, other)):
        return float(_same_moment(final_answer.final_moment(one), final_answer.final_moment(other)))
    first, second = final_answer.final_answer(one), final_answer.final_answer(other)
    if isinstance(first, Decimal) or isinstance(second, Decimal):
        # One text comes down to a number: of the other, however long, the last number counts.
        return float(_same_number(one, other))
    if first is not None and second is not None:
        return float(first == second)
    if is_literal(one) and is_literal(other):
        return float(literals.same(one, other))
    if is_literal(one) or is_literal(other) or (_is_word(one) and _is_word(other)):
        return 0.0
    return compare_prose(one, other)


def _same_number(one: str, other: str) -> bool:
    first, second = final_number(one), final_number(other)
    tags = zip(final_answer.tags(one), final_answer.tags(other), strict=True)
    if first is None or second is None or any(a and b and a != b for a, b in tags):
        return False
    return equal(first, second)


def _is_word(text: str) -> bool:
    """Return whether a text is a single word. Different words are different answers."""
    return len(text.split()) == 1


def _same_moment(one: Moment | None, other: Moment | None) -> bool:
    """Return whether two dates and times may be the same; what one leaves out may be any."""
    if one is None or other is None:
        return False
    if bool(one.dates) != bool(other.dates):
        return False
    return (not one.dates or _may_be_same(one.dates, other.dates)) and (
        not (one.times and other.times) or bool(one.times & other.times)
    )


def _may_be_same(one: frozenset[Date], other: frozenset[Date]) -> bool:
    return any(
        first[1:] == second[1:] and (None in (first[0], second[0]) or first[0] == second[0])
        for first in one
        for second in other
    )


# --- JSON ----------------------------------------------------------------------------------------


def _leaf_values(one: Any, other: Any) -> float:
    """Compare two leaves. `None`, an empty value and a missing leaf are the same."""
    is_empty = [leaf is None or leaf in ("", [], {}) for leaf in (one, other)]
    if any(is_empty):
        return float(all(is_empty))
    if isinstance(one, bool) or isinstance(other, bool):
        return float(one is other)
    scalars = all(isinstance(leaf, str | int | float) for leaf in (one, other))
    return texts(str(one), str(other)) if scalars else float(one == other)


# --- prose ---------------------------------------------------------------------------------------


def _prose(one: str, other: str, embed: Embed | None) -> float:
    """Return the agreement of meaning (or words), and half of it of key facts if there are any."""
    meaning = _cosine(one, other, embed) if embed else _word_overlap(one, other)
    facts = _facts(one), _facts(other)
    return (meaning + _dice(*facts)) / 2 if any(facts) else meaning


def _facts(text: str) -> Counter[Hashable]:
    """Count the numbers and names of a text, each once."""
    facts: set[Hashable] = {value.normalize() for value in numbers(text)}
    return Counter(facts | {name.casefold()[:5] for name in _NAME.findall(text)})


def _cosine(one: str, other: str, embed: Embed) -> float:
    first, second = embed([one, other]).vectors
    return min(1.0, max(0.0, math.fsum(map(mul, first, second))))


def _word_overlap(one: str, other: str) -> float:
    return _dice(Counter(words(one)), Counter(words(other)))


def _dice(one: Counter[Any], other: Counter[Any]) -> float:
    """Return the Dice coefficient: twice the common items over the items of both."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 0.0
