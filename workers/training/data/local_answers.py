"""Answers of local models and their agreement: the evidence there is after the local answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from forebay.routing.errors import Misconfigured
from forebay.workers.checks import agreement
from forebay.workers.checks.answer_features import answer_features
from forebay.workers.training.data.columns import columns
from forebay.workers.training.data.dataset import Floats

Texts = Sequence[str | None]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers of the weak model and of the others, a row for each prompt; `None` if missing.

    `names` are those of the models, the weak one's first.
    """

    first: Texts
    others: Sequence[Texts]
    names: Sequence[str]

    def agreements(self) -> Floats:
        """Return how far the first answer agrees with each other one, 0 to 1: rows by models."""
        return np.array([_agreements(self.first, other) for other in self.others]).T

    def features(self, prompts: Sequence[str]) -> list[dict[str, float]]:
        """Return the named features of each first answer (`answer_features`)."""
        pairs = [_agreements(one, other) for one, other in combinations(self.others, 2)]
        together = np.mean(pairs, axis=0) if pairs else np.ones(len(self.first))
        columns = zip(
            prompts, self.first, zip(*self.others, strict=True), self.agreements().tolist(),
            together.tolist(), strict=True,
        )  # fmt: skip
        return [answer_features(*row) for row in columns]


def read(path: Path, uids: Sequence[str], first: str, others: Sequence[str]) -> Answers:
    """Read these models' answers to these prompts from the parquet columns `uid`, `model`, `pred`.

    If a model answered a prompt several times, its first answer in the file counts: single answers
    can agree, a mean of answers cannot.

    Raises:
        Misconfigured: The file, a column, a model or all of a model's answers are missing.
    """
    table = columns(path, ["uid", "model", "pred"])
    by_model: dict[str, dict[str, str | None]] = {}
    for uid, model, pred in zip(table["uid"], table["model"], table["pred"], strict=True):
        by_model.setdefault(model, {}).setdefault(uid, (pred or "").strip() or None)
    for model in (first, *others):
        if model not in by_model:
            names = ", ".join(sorted(by_model))
            raise Misconfigured(f"column 'model' has no {model!r}; it has {names}", field=str(path))
    rows = [[by_model[model].get(uid) for uid in uids] for model in (first, *others)]
    for model, row in zip((first, *others), rows, strict=True):
        if not any(row):
            missing = f"column 'pred' has no answer of {model!r} to any of these prompts"
            raise Misconfigured(missing, field=str(path))
    return Answers(rows[0], rows[1:], (first, *others))


def _agreements(one: Texts, other: Texts) -> list[float]:
    """Return the agreement of each row; a missing answer agrees with nothing."""
    return [
        agreement.texts(ours, theirs) if ours and theirs else 0.0
        for ours, theirs in zip(one, other, strict=True)
    ]
