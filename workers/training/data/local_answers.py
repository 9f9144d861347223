"""Local answers of a file, and how far they agree: what is known after the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from pathlib import Path

import numpy as np

from forebay.routing.errors import Misconfigured
from forebay.workers.checks import agreement, final_answer
from forebay.workers.training.data.columns import columns
from forebay.workers.training.data.dataset import Floats

Texts = Sequence[str | None]
Numbers = frozenset[Decimal]

WORTH = 3  # of how an answer looks: what another one's can be told from, by how much


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the weak model and the others answered, one row a prompt; none where nothing came."""

    first: Texts
    others: Sequence[Texts]

    def agreements(self) -> Floats:
        """With each other model, 0 to 1: rows by models."""
        return np.array([_agreed(self.first, other) for other in self.others]).T

    def features(self, prompts: Sequence[str]) -> Floats:
        """Numbers that tell a wrong answer: who agrees with whom, and what the answers look like.

        That the others agree with each other and not with the first says more than that they
        differ: then there is an answer, and it is not the first one. How the answers look, beside
        the question and beside each other, says which of two that differ is the wrong one.
        """
        agreed = self.agreements()
        among = [_agreed(one, other) for one, other in combinations(self.others, 2)]
        together = np.mean(among, axis=0) if among else np.ones(len(self.first))
        against = together * (1 - agreed.mean(axis=1))
        asked = [frozenset(final_answer.numbers(prompt)) for prompt in prompts]
        looks = [_looks(texts, asked) for texts in (self.first, *self.others)]
        beside = [other[:, :WORTH] - looks[0][:, :WORTH] for other in looks[1:]]
        return np.column_stack(
            [agreed, agreed.mean(axis=1), agreed.min(axis=1), together, against, *looks, *beside]
        )


def read(path: Path, uids: Sequence[str], first: str, others: Sequence[str]) -> Answers:
    """Their answers to these prompts, from the parquet columns `uid`, `model`, `pred`.

    Of a model's answers to one prompt the first in the file is taken: one answer agrees with
    another, a mean of answers with nothing.

    Raises:
        Misconfigured: The file, a column, a model or all of its answers are missing.
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
            said = f"column 'pred' has no answer of {model!r} to any of these prompts"
            raise Misconfigured(said, field=str(path))
    return Answers(rows[0], rows[1:])


def _agreed(one: Texts, other: Texts) -> list[float]:
    """Agreement by row; what is missing agrees with nothing."""
    return [
        agreement.texts(ours, theirs) if ours and theirs else 0.0
        for ours, theirs in zip(one, other, strict=True)
    ]


def _looks(texts: Texts, asked: Sequence[Numbers]) -> Floats:
    return np.array([_look(text, given) for text, given in zip(texts, asked, strict=True)])


def _look(text: str | None, asked: Numbers) -> tuple[float, ...]:
    """Of one answer: its length, its last number and how whole that is, and is it in the question.

    The first `WORTH` may be compared with those of another answer.
    """
    found = final_answer.numbers(text or "")
    last = float(found[-1]) if found else 0.0
    size = math.log1p(abs(last)) if math.isfinite(last) else 0.0
    return (
        math.log1p(len(text or "")), min(size, 30.0), math.log1p(len(found)), float(text is None),
        float(last.is_integer()), float(last < 0), float(bool(found) and found[-1] in asked),
    )  # fmt: skip
