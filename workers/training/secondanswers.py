"""Local answers of a file, and how far they agree: what is known after the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from routing.errors import Misconfigured
from workers import agreement
from workers.training.dataset import Floats, columns

Texts = Sequence[str | None]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the weak model and the others answered, one row a prompt; none where nothing came."""

    first: Texts
    others: Sequence[Texts]

    def agreements(self) -> Floats:
        """With each other model, 0 to 1: rows by models."""
        return np.array([_agreed(self.first, other) for other in self.others]).T

    def features(self) -> Floats:
        """Numbers that tell a wrong answer: who agrees with whom, and what the answer looks like.

        That the others agree with each other and not with the first says more than that they
        differ: then there is an answer, and it is not the first one.
        """
        agreed = self.agreements()
        among = [_agreed(one, other) for one, other in combinations(self.others, 2)]
        together = np.mean(among, axis=0) if among else np.ones(len(self.first))
        against = together * (1 - agreed.mean(axis=1))
        looks = np.array([_looks(text) for text in self.first])
        lengths = np.array([[_length(t) for t in texts] for texts in self.others]).T
        return np.column_stack(
            [agreed, agreed.mean(axis=1), agreed.min(axis=1), together, against, looks, lengths]
        )


def read(path: Path, uids: Sequence[str], first: str, others: Sequence[str]) -> Answers:
    """Their answers to these prompts, from the parquet columns `uid`, `model`, `pred`.

    Raises:
        Misconfigured: The file, a column or a model is missing.
    """
    table = columns(path, ["uid", "model", "pred"])
    by_model: dict[str, dict[str, str | None]] = {}
    for uid, model, pred in zip(table["uid"], table["model"], table["pred"], strict=True):
        text = None if pred is None else str(pred).strip()
        by_model.setdefault(model, {})[uid] = text or None
    for model in (first, *others):
        if model not in by_model:
            names = ", ".join(sorted(by_model))
            raise Misconfigured(f"column 'model' has no {model!r}; it has {names}", field=str(path))
    rows = [[by_model[model].get(uid) for uid in uids] for model in (first, *others)]
    return Answers(rows[0], rows[1:])


def _agreed(one: Texts, other: Texts) -> list[float]:
    """Agreement by row; what is missing agrees with nothing."""
    return [
        agreement.texts(ours, theirs) if ours and theirs else 0.0
        for ours, theirs in zip(one, other, strict=True)
    ]


def _length(text: str | None) -> float:
    return math.log1p(len(text or ""))


def _looks(text: str | None) -> tuple[float, ...]:
    """Of one answer: is there one, its length, its numbers, how large and how whole the last is."""
    found = agreement.numbers(text or "")
    last = float(found[-1]) if found else 0.0
    size = math.log1p(abs(last)) if math.isfinite(last) else 0.0
    return (
        float(text is None), _length(text), math.log1p(len(found)),
        min(size, 30.0), float(last.is_integer()), float(last < 0),
    )  # fmt: skip
