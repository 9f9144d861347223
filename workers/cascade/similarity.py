"""Classification without a language model: which label's description is nearest to the text?

On small machines this beats the packaged language model, at a millisecond a text. Labels repeat by
the million, so their vectors are kept in memory.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import mul

from forebay.routing.jobs import Classification, Classify, Job, Label
from forebay.workers.engines.engine import Vectors

Embed = Callable[[list[str]], Vectors]

#: Cosines divided by this, and then softmax. Fitted on 57 short texts with five sets of labels for
#: the packaged encoder (log-loss 0.45); mean probability and share of right labels are both 0.82.
TEMPERATURE = 0.03

MAX_LABELS_KEPT = 4_096  # labels; 2 KB each at 512 dimensions


class LabelVectors:
    """The vectors of the labels seen last, by encoder and label; safe between threads."""

    def __init__(self, kept: int = MAX_LABELS_KEPT) -> None:
        self._kept = kept
        self._vectors: OrderedDict[tuple[Embed, Label], array[float]] = OrderedDict()
        self._alone = threading.Lock()

    def known(self, embed: Embed, labels: Sequence[Label]) -> dict[Label, array[float]]:
        """Those of the labels that are here; each counts as used."""
        with self._alone:
            known = {one: self._vectors.get((embed, one)) for one in labels}
            found = {one: vector for one, vector in known.items() if vector is not None}
            for one in found:
                self._vectors.move_to_end((embed, one))
            return found

    def add(self, embed: Embed, vectors: dict[Label, array[float]]) -> None:
        """Keep these; the ones used longest ago make room."""
        with self._alone:
            for label, vector in vectors.items():
                self._vectors[embed, label] = vector
            while len(self._vectors) > self._kept:
                self._vectors.popitem(last=False)

    def __len__(self) -> int:
        return len(self._vectors)


_kept = LabelVectors()


def classify(job: Job, embed: Embed, *, labels: LabelVectors = _kept) -> tuple[Classification, int]:
    """The label whose vector is nearest, and the tokens read for it (of new labels as well).

    A label's vector is the mean of those of its name, its description and its examples: measured
    against each alone, and against the nearest of them, the mean is at least as often right and
    its probabilities are the best calibrated.

    Raises:
        Whatever `embed` raises.
    """
    assert isinstance(job.request, Classify)
    options = job.request.options
    known = labels.known(embed, options)
    new = [label for label in options if label not in known]
    vectors = embed([job.request.text, *(part for label in new for part in _parts(label))])
    rows = iter(vectors.vectors)
    text = next(rows)
    made = {label: _mean([next(rows) for _ in _parts(label)]) for label in new}
    labels.add(embed, made)
    nearness = {label.name: _dot(text, (known | made)[label]) for label in options}
    return _classification(nearness), vectors.tokens_in


def _parts(label: Label) -> list[str]:
    return [label.name, *([label.description] if label.description else []), *label.examples]


def _mean(rows: Sequence[Sequence[float]]) -> array[float]:
    total = [math.fsum(column) for column in zip(*rows, strict=True)]
    length = math.hypot(*total) or 1.0
    return array("f", (value / length for value in total))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(map(mul, one, other))


def _classification(nearness: dict[str, float]) -> Classification:
    best = max(nearness, key=nearness.__getitem__)
    weights = {
        name: math.exp((cosine - nearness[best]) / TEMPERATURE) for name, cosine in nearness.items()
    }
    total = sum(weights.values())
    scores = {name: weight / total for name, weight in weights.items()}
    return Classification(label=best, probability=scores[best], scores=scores)
