"""Labels and decisions without a language model: the option whose embedding is nearest.

On small machines this beats the packaged language model, at a millisecond a text. Millions of jobs
share a few labels, so the labels' vectors are kept in memory.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import mul

from forebay.routing.jobs import (
    Choice,
    Classification,
    Classify,
    Decide,
    Decisions,
    Job,
    Label,
    Predicate,
    Score,
)
from forebay.routing.questions.decisions import answer_to
from forebay.routing.questions.questions import UNSURE
from forebay.workers.engines.engine import Vectors

Embed = Callable[[list[str]], Vectors]
Parts = tuple[str, ...]  # the texts of one label

#: Cosines are divided by this before the softmax. Fitted on 57 short texts with five sets of labels
#: for the packaged encoder (log-loss 0.45); mean probability and accuracy are both 0.82.
TEMPERATURE = 0.03

#: The same for questions, by their type (`tests/benchmarks/decisions.py`, 216 answers). The encoder
#: answers choices. It hardly tells a yes from a no, or a level from the next, so the probabilities
#: of these stay close to even.
TEMPERATURES = {"predicate": 0.4, "choice": 0.035, "score": 0.4}

MAX_LABELS_KEPT = 4_096  # labels; 2 KB each at 512 dimensions


class LabelVectors:
    """The vectors of the labels used last, by encoder and texts; safe to share between threads."""

    def __init__(self, max_labels: int = MAX_LABELS_KEPT) -> None:
        self._max_labels = max_labels
        self._vectors: OrderedDict[tuple[Embed, Parts], array[float]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, embed: Embed, labels: Iterable[Parts]) -> dict[Parts, array[float]]:
        """Return the vectors of those labels that are here; each counts as used."""
        with self._lock:
            kept = {label: self._vectors.get((embed, label)) for label in labels}
            known = {label: vector for label, vector in kept.items() if vector is not None}
            for label in known:
                self._vectors.move_to_end((embed, label))
            return known

    def add(self, embed: Embed, vectors: dict[Parts, array[float]]) -> None:
        """Keep these vectors; those used longest ago make room."""
        with self._lock:
            for label, vector in vectors.items():
                self._vectors[embed, label] = vector
            while len(self._vectors) > self._max_labels:
                self._vectors.popitem(last=False)

    def __len__(self) -> int:
        return len(self._vectors)


_label_vectors = LabelVectors()


def answer_all(
    jobs: Sequence[Job], embed: Embed, *, labels: LabelVectors = _label_vectors
) -> tuple[list[Classification | Decisions], int]:
    """Return the answers of many jobs, and the tokens that were read in all.

    All texts are embedded in one call, with the options whose vectors are not kept. A label's
    vector is the mean of those of its name, its description and its examples: measured against
    each alone, and against the nearest of them, the mean is at least as often right and its
    probabilities are the best calibrated.
    """
    comparisons = [_comparison(job) for job in jobs]
    wanted = [parts for each in comparisons for parts in each.options]
    texts = [each.text for each in comparisons]
    cosines, tokens_in = _cosines(texts, wanted, embed, labels)
    contents = [each.read(near) for each, near in zip(comparisons, cosines, strict=True)]
    return contents, tokens_in


@dataclass(frozen=True, slots=True)
class _Comparison:
    """A job's text, the options that it is compared with, and how the cosines are read."""

    text: str
    options: list[Parts]
    read: Callable[[dict[Parts, float]], Classification | Decisions]


def _comparison(job: Job) -> _Comparison:
    request = job.request
    if isinstance(request, Decide):
        asked = [(question, _asked(question)) for question in request.questions]
        options = [texts for _, parts in asked for texts in parts.values()]
        return _Comparison(request.state_text, options, partial(_decisions, asked))
    assert isinstance(request, Classify)
    parts = {label.name: _parts(label) for label in request.options}
    return _Comparison(request.text, list(parts.values()), partial(_classification, parts))


def _classification(parts: dict[str, Parts], cosines: dict[Parts, float]) -> Classification:
    nearness = {name: cosines[texts] for name, texts in parts.items()}
    shares = _shares(nearness, TEMPERATURE)
    best = max(shares, key=shares.__getitem__)
    return Classification(label=best, probability=shares[best], scores=shares)


def _decisions(
    asked: list[tuple[Predicate | Choice | Score, dict[str, Parts]]], cosines: dict[Parts, float]
) -> Decisions:
    answers = tuple(
        answer_to(question, _option_shares(question, parts, cosines)) for question, parts in asked
    )
    return Decisions(answers=answers, basis="similarity")


def _asked(question: Predicate | Choice | Score) -> dict[str, Parts]:
    """Return the texts of each option: the instructions with what it means, and its examples.

    Measured against names, descriptions and means of them, this is as often right for choices and
    the best calibrated.
    """
    return {
        label.name: (f"{question.instructions} {label.description or label.name}", *label.examples)
        for label in question.labels
    }


def _option_shares(
    question: Predicate | Choice | Score, parts: dict[str, Parts], cosines: dict[Parts, float]
) -> dict[str, float]:
    """Return the share of each option; `unsure` is as near as the others are on average."""
    nearness = {name: cosines[texts] for name, texts in parts.items()}
    if question.unsure:
        nearness[UNSURE] = math.fsum(nearness.values()) / len(nearness)
    return _shares(nearness, TEMPERATURES[question.type])


def _cosines(
    texts: Sequence[str], labels: Iterable[Parts], embed: Embed, vectors: LabelVectors
) -> tuple[list[dict[Parts, float]], int]:
    """Return for each text its cosine with each label, and the tokens that were read."""
    wanted = list(dict.fromkeys(labels))
    known = vectors.get(embed, wanted)
    new = [label for label in wanted if label not in known]
    embedded = embed([*texts, *(part for label in new for part in label)])
    rows = iter(embedded.vectors)
    text_rows = [next(rows) for _ in texts]
    added = {label: _mean([next(rows) for _ in label]) for label in new}
    vectors.add(embed, added)
    every = known | added
    cosines = [{label: _dot(row, every[label]) for label in wanted} for row in text_rows]
    return cosines, embedded.tokens_in


def _parts(label: Label) -> Parts:
    return (label.name, *([label.description] if label.description else []), *label.examples)


def _mean(rows: Sequence[Sequence[float]]) -> array[float]:
    """Return the mean direction of the rows, at unit length."""
    total = [math.fsum(column) for column in zip(*rows, strict=True)]
    length = math.hypot(*total) or 1.0
    return array("f", (value / length for value in total))


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return math.fsum(map(mul, left, right))


def _shares(cosines: dict[str, float], temperature: float) -> dict[str, float]:
    """Return the softmax of the cosines."""
    best = max(cosines.values())
    weights = {name: math.exp((cosine - best) / temperature) for name, cosine in cosines.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
