"""Prompts and how well models did on them, read from two parquet files and checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt

from forebay.routing.errors import Misconfigured
from forebay.workers.training.data.columns import columns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_PROMPTS = 20  # prompts; of fewer nothing can be learned


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Prompts that both sides answered; all columns have one entry a prompt.

    Attributes:
        types: job types; none where they are not known or not to be used.
        sources: where a prompt comes from; one where the file does not say.
        weak, strong: mean score, 0 to 1, of the local and of the frontier models' answers.
        scale: what a score of 1 is in the file.
    """

    uids: Sequence[str]
    prompts: Sequence[str]
    types: Sequence[str] | None
    sources: Sequence[str]
    weak: Floats
    strong: Floats
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def gap(self) -> Floats:
        """What there is to gain by asking the frontier."""
        return self.strong - self.weak

    def take(self, rows: Ints) -> Dataset:
        """These rows, in this order."""
        return Dataset(
            [self.uids[row] for row in rows],
            [self.prompts[row] for row in rows],
            [self.types[row] for row in rows] if self.types else None,
            [self.sources[row] for row in rows],
            self.weak[rows],
            self.strong[rows],
            self.scale,
        )


def read(
    prompts: Path,
    outcomes: Path,
    weak: Sequence[str],
    strong: Sequence[str],
    *,
    job_type: bool = True,
) -> Dataset:
    """The prompts that at least one weak and one strong model answered.

    Args:
        prompts: parquet with `uid`, `prompt` and, where wanted, `job_type`; `source` may be there.
        outcomes: parquet with `uid`, `model`, `score`; of a model's answers to one prompt the mean
            counts.
        weak: names of local models; the mean of those that answered is taken.
        strong: names of frontier models, likewise.
        job_type: use the job types.

    Raises:
        Misconfigured: A file, a column or a model is missing, or holds what it must not.
    """
    wanted = ["uid", "prompt", *(["job_type"] if job_type else [])]
    asked = columns(prompts, wanted, optional=["source"])
    _unique(prompts, asked["uid"])
    scores = _scores(outcomes)
    low, high = (_means(outcomes, scores, models) for models in (weak, strong))
    rows = [row for row, uid in enumerate(asked["uid"]) if uid in low and uid in high]
    if not rows:
        names = f"{', '.join(weak)} and {', '.join(strong)}"
        raise Misconfigured(f"has no prompt that both {names} answered", field=str(outcomes))
    uids = [asked["uid"][row] for row in rows]
    low_scores, high_scores = (np.array([side[uid] for uid in uids]) for side in (low, high))
    scale = max(1.0, float(low_scores.max()), float(high_scores.max()))
    return Dataset(
        uids,
        [asked["prompt"][row] for row in rows],
        [asked["job_type"][row] or "" for row in rows] if job_type else None,
        [asked["source"][row] or "" for row in rows] if "source" in asked else [""] * len(rows),
        low_scores / scale,
        high_scores / scale,
        scale,
    )


def enough(count: int, folds: int | None = None) -> None:
    """Raise `Misconfigured` where prompts are too few to fit on.

    Args:
        count: prompts.
        folds: that they come in; all but the largest of them are fitted on.
    """
    fitted = count - math.ceil(count / folds) if folds else count
    if fitted < MIN_PROMPTS:
        raise Misconfigured(
            f"only {fitted} prompts; {MIN_PROMPTS} are needed to fit on", field="--prompts"
        )


def _unique(path: Path, uids: Sequence[str]) -> None:
    twice = [uid for uid, count in Counter(uids).items() if count > 1]
    if twice:
        raise Misconfigured(f"column 'uid' names {len(twice)} prompts twice", field=str(path))


def _scores(path: Path) -> dict[str, dict[str, float]]:
    """Score by uid, by model: of several answers the mean, whatever their order."""
    table = columns(path, ["uid", "model", "score"])
    scores: dict[str, dict[str, list[float]]] = {}
    for uid, model, score in zip(table["uid"], table["model"], table["score"], strict=True):
        if score is None or not isinstance(score, int | float) or not 0 <= score < float("inf"):
            wrong = "column 'score' must be a number of 0 or more"
            raise Misconfigured(f"{wrong} (model {model})", field=str(path))
        scores.setdefault(model, {}).setdefault(uid, []).append(float(score))
    return {model: {uid: fmean(got) for uid, got in by.items()} for model, by in scores.items()}


def _means(
    path: Path, scores: Mapping[str, Mapping[str, float]], models: Sequence[str]
) -> dict[str, float]:
    """Mean score by uid of those of these models that answered it."""
    for model in models:
        if model not in scores:
            raise Misconfigured(
                f"column 'model' has no {model!r}; it has {', '.join(sorted(scores))}",
                field=str(path),
            )
    sums: dict[str, list[float]] = {}
    for model in models:
        for uid, score in scores[model].items():
            sums.setdefault(uid, []).append(score)
    return {uid: sum(got) / len(got) for uid, got in sums.items()}
