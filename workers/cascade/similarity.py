"""Classification without a language model: the label whose embedding is nearest to the text's.

On small machines this beats the packaged language model, at a millisecond a text. Millions of jobs
share a few labels, so the labels' vectors are kept in memory.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
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

#: Cosines are divided by this before the softmax. Fitted on 57 short texts with five sets of labels
#: for the packaged encoder (log-loss 0.45); mean probability and accuracy are both 0.82.
TEMPERATURE = 0.03

MAX_LABELS_KEPT = 4_096  # labels; 2 KB each at 512 dimensions


class LabelVectors:
    """The vectors of the labels used last, by encoder and label; safe to share between threads."""

    def __init__(self, max_labels: int = MAX_LABELS_KEPT) -> None:
        self._max_labels = max_labels
        self._vectors: OrderedDict[tuple[Embed, Label], array[float]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, embed: Embed, labels: Sequence[Label]) -> dict[Label, array[float]]:
        """Return the vectors of those labels that are here; each counts as used."""
        with self._lock:
            kept = {label: self._vectors.get((embed, label)) for label in labels}
            known = {label: vector for label, vector in kept.items() if vector is not None}
            for label in known:
                self._vectors.move_to_end((embed, label))
            return known

    def add(self, embed: Embed, vectors: dict[Label, array[float]]) -> None:
        """Keep these vectors; those used longest ago make room."""
        with self._lock:
            for label, vector in vectors.items():
                self._vectors[embed, label] = vector
            while len(self._vectors) > self._max_labels:
                self._vectors.popitem(last=False)

    def __len__(self) -> int:
        return len(self._vectors)


_label_vectors = LabelVectors()


def classify(
    job: Job, embed: Embed, *, labels: LabelVectors = _label_vectors
) -> tuple[Classification, int]:
    """Return the nearest label, and the tokens that were read, including those of new labels.

    Raises:
        Whatever `embed` raises.
    """
    assert isinstance(job.request, Classify)
    options = job.request.options
    cosines, tokens_in = _cosines(job.request.text, options, embed, labels)
    shares = _shares({label.name: cosines[label] for label in options})
    best = max(shares, key=shares.__getitem__)
    return Classification(label=best, probability=shares[best], scores=shares), tokens_in


def decide(
    job: Job, embed: Embed, *, labels: LabelVectors = _label_vectors
) -> tuple[Decisions, int]:
    """Return for each question the options by their similarity, and the tokens that were read.

    Raises:
        Whatever `embed` raises.
    """
    request = job.request
    assert isinstance(request, Decide)
    asked = {question.name: question.labels for question in request.questions}
    every = [label for options in asked.values() for label in options]
    cosines, tokens_in = _cosines(request.state_text, every, embed, labels)
    answers = tuple(
        answer_to(question, _option_shares(question, cosines)) for question in request.questions
    )
    return Decisions(answers=answers, basis="similarity"), tokens_in


def _option_shares(
    question: Predicate | Choice | Score, cosines: dict[Label, float]
) -> dict[str, float]:
    """Return the share of each option; `unsure` is as near as the others are on average."""
    nearness = {label.name: cosines[label] for label in question.labels}
    if question.unsure:
        nearness[UNSURE] = math.fsum(nearness.values()) / len(nearness)
    return _shares(nearness)


def _cosines(
    text: str, options: Sequence[Label], embed: Embed, labels: LabelVectors
) -> tuple[dict[Label, float], int]:
    """Return the cosine of the text and each label, and the tokens that were read.

    A label's vector is the mean of those of its name, its description and its examples: measured
    against each alone, and against the nearest of them, the mean is at least as often right and
    its probabilities are the best calibrated.
    """
    known = labels.get(embed, options)
    new = list(dict.fromkeys(label for label in options if label not in known))
    vectors = embed([text, *(part for label in new for part in _parts(label))])
    rows = iter(vectors.vectors)
    vector = next(rows)
    added = {label: _mean([next(rows) for _ in _parts(label)]) for label in new}
    labels.add(embed, added)
    return {label: _dot(vector, (known | added)[label]) for label in options}, vectors.tokens_in


def _parts(label: Label) -> list[str]:
    return [label.name, *([label.description] if label.description else []), *label.examples]


def _mean(rows: Sequence[Sequence[float]]) -> array[float]:
    """Return the mean direction of the rows, at unit length."""
    total = [math.fsum(column) for column in zip(*rows, strict=True)]
    length = math.hypot(*total) or 1.0
    return array("f", (value / length for value in total))


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return math.fsum(map(mul, left, right))


def _shares(cosines: dict[str, float]) -> dict[str, float]:
    """Return the softmax of the cosines."""
    best = max(cosines.values())
    weights = {name: math.exp((cosine - best) / TEMPERATURE) for name, cosine in cosines.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
