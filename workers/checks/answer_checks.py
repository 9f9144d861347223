"""Deterministic checks of an answer: what can be known to be wrong without asking another model.

A failed check escalates a job, or marks its answer as degraded. A check fails only if the text, the
request or the answer itself is evidence of a fault, and ignores formatting. One kind of right
answers fails them: an extraction whose values are computed rather than copied. That costs an
escalation, not a wrong answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from forebay.routing.jobs import (
    Check,
    Choice,
    Classification,
    Classify,
    Content,
    Decide,
    Decisions,
    Embed,
    Embedding,
    Extract,
    Extraction,
    Generate,
    Generation,
    Job,
    Predicate,
    QuestionAnswer,
    Score,
    Summarize,
    Summary,
)
from forebay.routing.json_tree import RepeatedName, unique
from forebay.workers.checks import extraction_checks
from forebay.workers.checks.grounding import Source
from forebay.workers.checks.reading.refusals import declines
from forebay.workers.checks.reading.words import count_words, ends_sentence, is_visible, words
from forebay.workers.checks.repetition import repeats_itself
from forebay.workers.checks.safe_validation import mismatch
from forebay.workers.engines.engine import Ending

#: The check of `classify`: the answer is one of the labels.
LABEL = "label"

#: An answer that fails one of these checks is no answer of its kind, not even a degraded one.
INDISPENSABLE = frozenset({"kind", LABEL, "questions", "schema", "regex", "present", "vectors"})

EXTRA_LENGTH = 0.1  # share by which a summary may be longer than asked, and always by two words
MIN_SHARED_WORDS = 0.27  # share of a summary's longer words in its text; paraphrases reach 0.29
MIN_TEXT_WORDS = 20  # the summary of a shorter text may well have other words
MAX_SUM_ERROR = 0.01  # by how much the probabilities of a question may miss a sum of 1
MAX_LENGTH_ERROR = 1e-3  # by how much a vector's length may differ from 1

_SENTENCES = re.compile(r"(?<=[.!?\u0964])\s+|(?<=[\u3002\uff01\uff1f])")


def check(job: Job, content: Content, *, finish: Ending = "stop") -> tuple[Check, ...]:
    """Return every check of this kind of answer, passed or not. Never raises.

    Args:
        job: the job that the content answers.
        content: the content, as `parsing.parse_answer` returns it.
        finish: `length` if the model was cut off.
    """
    checks: Iterable[Check]
    match job.request, content:
        case Classify() as request, Classification():
            checks = [_label(request, content)]
        case Decide() as request, Decisions():
            checks = [_questions(request, content)]
        case Extract() as request, Extraction():
            checks = _extraction(request, content, finish)
        case Summarize() as request, Summary():
            checks = _summary(request, content, finish)
        case Generate() as request, Generation():
            checks = _generation(request, content, finish)
        case Embed() as request, Embedding():
            checks = [_vectors(request, content)]
        case _:
            checks = [Check(name="kind", passed=False, note="answers another kind")]
    return tuple(checks)


def _check(name: str, passed: bool, note: str) -> Check:  # noqa: FBT001 - reads as a sentence
    """Return a check with a note if it failed. Notes never quote content."""
    return _passed(name) if passed else Check(name=name, passed=False, note=note)


@lru_cache(maxsize=128)
def _passed(name: str) -> Check:
    return Check(name=name, passed=True, note="")


# --- classify, decide and embed -------------------------------------------------------------------


def _label(request: Classify, content: Classification) -> Check:
    known = content.label in [option.name for option in request.options]
    return _check(LABEL, known, "is none of the labels")


def _questions(request: Decide, content: Decisions) -> Check:
    asked = [(q.name, q.type, frozenset(q.options)) for q in request.questions]
    answered = [(a.name, a.type, frozenset(a.probabilities)) for a in content.answers]
    if asked != answered:
        note = "not one answer for each question, from its options"
        return _check("questions", passed=False, note=note)
    sound = all(map(_is_sound, request.questions, content.answers))
    return _check("questions", sound, "has probabilities that do not add up to 1, or a wrong score")


def _is_sound(question: Predicate | Choice | Score, answer: QuestionAnswer) -> bool:
    """Return whether the probabilities, the chosen option and the score fit each other."""
    if not abs(math.fsum(answer.probabilities.values()) - 1) <= MAX_SUM_ERROR:  # NaN is not sound
        return False
    if not isinstance(question, Score):
        return answer.chosen in answer.probabilities and answer.score is None
    lowest, highest = question.values[0] - MAX_SUM_ERROR, question.values[-1] + MAX_SUM_ERROR
    has_score = answer.score is not None and lowest <= answer.score <= highest
    return answer.chosen in answer.probabilities and has_score


def _vectors(request: Embed, content: Embedding) -> Check:
    sizes = {len(vector) for vector in content.vectors}
    lengths = [math.sqrt(sum(value * value for value in vector)) for vector in content.vectors]
    good = (
        len(content.vectors) == len(request.texts)
        and len(sizes) == 1
        and all(abs(length - 1) <= MAX_LENGTH_ERROR for length in lengths)
    )
    return _check("vectors", good, "not one vector of unit length for each text")


# --- extract, summarize and generate -------------------------------------------------------------


def _extraction(request: Extract, content: Extraction, finish: Ending) -> Iterator[Check]:
    yield _check("whole", finish == "stop", "cut off")
    for name, fault in extraction_checks.faults(request, content.data):
        yield _check(name, fault is None, fault or "")


def _summary(request: Summarize, content: Summary, finish: Ending) -> Iterator[Check]:
    source, text, count = Source(request.text), content.text, count_words(content.text)
    limit = request.max_words + max(2, math.floor(request.max_words * EXTRA_LENGTH))
    share = source.share_of(text)
    is_short = count_words(request.text) < MIN_TEXT_WORDS
    on_topic = is_short or share is None or share >= MIN_SHARED_WORDS
    has_words = is_visible(text) and bool(words(text))
    yield _check("present", has_words, "no words")
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
    yield _check("present", is_visible(content.text), "shows nothing")
    yield from _prose(content.text)
    yield _check("whole", "length" not in (finish, content.finish), "cut off")
    if request.regex is not None:
        error = mismatch(request.regex, request.whole(content.text))
        yield _check("regex", error is None, error or "")
    if request.schema_ is not None:
        error = _json_fault(request.schema_, request.whole(content.text))
        yield _check("schema", error is None, error or "")


def _json_fault(schema: dict[str, Any], text: str) -> str | None:
    try:
        data = json.loads(text, object_pairs_hook=unique)
    except RepeatedName:
        return "has a name twice in an object"
    except (ValueError, RecursionError):
        return "is not JSON"
    return extraction_checks.schema_fault(schema, data)


def _prose(text: str) -> Iterator[Check]:
    yield _check("answers", not declines(text), "declines")
    yield _check("repetition", not repeats_itself(text), "repeats itself")
