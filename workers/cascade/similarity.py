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


def classify(
    job: Job, embed: Embed, *, labels: LabelVectors = _label_vectors
) -> tuple[Classification, int]:
    """Return the nearest label, and the tokens that were read, including those of new labels.

    A label's vector is the mean of those of its name, its description and its examples: measured
    against each alone, and against the nearest of them, the mean is at least as often right and
    its probabilities are the best calibrated.

    Raises:
        Whatever `embed` raises.
    """
    request = job.request
    assert isinstance(request, Classify)
    parts = {label.name: _parts(label) for label in request.options}
    cosines, tokens_in = _cosines(request.text, parts.values(), embed, labels)
    nearness = {name: cosines[texts] for name, texts in parts.items()}
    shares = _shares(nearness, TEMPERATURE)
    best = max(shares, key=shares.__getitem__)
    return Classification(label=best, probability=shares[best], scores=shares), tokens_in


def decide(
    job: Job, embed: Embed, *, labels: LabelVectors = _label_vectors
) -> tuple[Decisions, int]:
    """Return for each question how near its options are, and the tokens that were read.

    Raises:
        Whatever `embed` raises.
    """
    request = job.request
    assert isinstance(request, Decide)
    asked = [(question, _asked(question)) for question in request.questions]
    every = [texts for _, parts in asked for texts in parts.values()]
    cosines, tokens_in = _cosines(request.state_text, every, embed, labels)
    answers = tuple(
        answer_to(question, _option_shares(question, parts, cosines)) for question, parts in asked
    )
    return Decisions(answers=answers, basis="similarity"), tokens_in


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
    text: str, labels: Iterable[Parts], embed: Embed, vectors: LabelVectors
) -> tuple[dict[Parts, float], int]:
    """Return the cosine of the text and each label, and the tokens that were read."""
    wanted = list(dict.fromkeys(labels))
    known = vectors.get(embed, wanted)
    new = [label for label in wanted if label not in known]
    embedded = embed([text, *(part for label in new for part in label)])
    rows = iter(embedded.vectors)
    vector = next(rows)
    added = {label: _mean([next(rows) for _ in label]) for label in new}
    vectors.add(embed, added)
    return {label: _dot(vector, (known | added)[label]) for label in wanted}, embedded.tokens_in


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
