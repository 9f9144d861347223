"""Answers of local models and their agreement: the evidence there is after the local answer."""

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

COMPARED_FEATURES = 3  # the first features of an answer; compared with those of other answers
MAX_LOG_SIZE = 30.0  # of an answer's last number


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers of the weak model and of the others, a row for each prompt; `None` if missing."""

    first: Texts
    others: Sequence[Texts]

    def agreements(self) -> Floats:
        """Return how far the first answer agrees with each other one, 0 to 1: rows by models."""
        return np.array([_agreements(self.first, other) for other in self.others]).T

    def features(self, prompts: Sequence[str]) -> Floats:
        """Return the features that tell wrong answers from right ones, a row for each prompt.

        1. How far the first answer agrees with each other one; the mean and the minimum of that.
        2. How far the others agree with each other, and that times how far they differ from the
           first: if they share an answer that the first does not, the first is probably wrong.
        3. The features of each answer's text, and how those of the others differ from the first's.
        """
        agreed = self.agreements()
        pairs = [_agreements(one, other) for one, other in combinations(self.others, 2)]
        together = np.mean(pairs, axis=0) if pairs else np.ones(len(self.first))
        against = together * (1 - agreed.mean(axis=1))
        asked = [frozenset(final_answer.numbers(prompt)) for prompt in prompts]
        texts = [_text_features(each, asked) for each in (self.first, *self.others)]
        differences = [
            other[:, :COMPARED_FEATURES] - texts[0][:, :COMPARED_FEATURES] for other in texts[1:]
        ]
        return np.column_stack(
            [
                *(agreed, agreed.mean(axis=1), agreed.min(axis=1), together, against),
                *texts,
                *differences,
            ]
        )


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
    return Answers(rows[0], rows[1:])


def _agreements(one: Texts, other: Texts) -> list[float]:
    """Return the agreement of each row; a missing answer agrees with nothing."""
    return [
        agreement.texts(ours, theirs) if ours and theirs else 0.0
        for ours, theirs in zip(one, other, strict=True)
    ]


def _text_features(texts: Texts, asked: Sequence[Numbers]) -> Floats:
    rows = [_answer_features(text, given) for text, given in zip(texts, asked, strict=True)]
    return np.array(rows)


def _answer_features(text: str | None, asked: Numbers) -> tuple[float, ...]:
    """Return the features of one answer.

    These are its length, the size of its last number and the count of its numbers (the compared
    ones), then whether it is missing, and whether its last number is whole, negative, or one of
    those in the question.
    """
    found = final_answer.numbers(text or "")
    last = float(found[-1]) if found else 0.0
    size = math.log1p(abs(last)) if math.isfinite(last) else 0.0
    return (
        math.log1p(len(text or "")), min(size, MAX_LOG_SIZE), math.log1p(len(found)),
        float(text is None), float(last.is_integer()), float(last < 0),
        float(bool(found) and found[-1] in asked),
    )  # fmt: skip
