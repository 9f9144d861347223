"""Prompts and the scores of models' answers to them, read from two files and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.hashed_ngrams import MAX_CHARS_READ
from forebay.workers.training.data.columns import Table, columns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_PROMPTS = 20  # fewer are too few to fit to
#: Prompts that are fitted to, or evaluated on. Of more, a random sample is taken.
MAX_PROMPTS = 50_000
#: Characters of all prompts that are fitted to. The n-grams of so many take 2 GB of memory.
MAX_CHARS = 15_000 * MAX_CHARS_READ


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Prompts that both a weak and a strong model answered. Every column has a value per prompt.

    Attributes:
        uids: ids of the prompts.
        prompts: their texts.
        types: job types; `None` if they are unknown or not to be used.
        sources: where each prompt comes from; all the same if the file has no such column.
        weak, strong: mean scores, 0 to 1, of the local and of the frontier models' answers.
        scale: the score in the file that counts as 1.
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
        """The gain of asking the frontier: the strong score less the weak score."""
        return self.strong - self.weak

    def take(self, rows: Ints) -> Dataset:
        """Return these rows, in this order."""
        return Dataset(
            [self.uids[row] for row in rows],
            [self.prompts[row] for row in rows],
            [self.types[row] for row in rows] if self.types else None,
            [self.sources[row] for row in rows],
            self.weak[rows],
            self.strong[rows],
            self.scale,
        )

    def sample(self, count: int, seed: int) -> Dataset:
        """Return so many random prompts, or all if there are not more."""
        if count >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def to_fit(self, seed: int) -> Dataset:
        """Return as many random prompts as a fit can hold in memory, or all."""
        sample = self.sample(MAX_PROMPTS, seed)
        read = sum(min(len(prompt), MAX_CHARS_READ) for prompt in sample.prompts)
        return sample.sample(len(sample) * MAX_CHARS // max(read, MAX_CHARS), seed)


def read(
    prompts: Path,
    outcomes: Path,
    weak: Sequence[str],
    strong: Sequence[str],
    *,
    job_type: bool = True,
) -> Dataset:
    """Read the prompts that at least one weak and one strong model answered.

    Args:
        prompts: the file with `uid`, `prompt`, `job_type` if job types are used, optionally
            `source`.
        outcomes: the file with `uid`, `model`, `score`. If a model answered a prompt several times,
            the mean of the scores counts.
        weak: names of local models; a prompt's score is the mean over those that answered it.
        strong: names of frontier models, likewise.
        job_type: whether to use job types.

    Raises:
        Misconfigured: A file, a column or a model is missing, or a value is wrong.
    """
    required = ["uid", "prompt", *(["job_type"] if job_type else [])]
    table = columns(prompts, required, optional=["source"])
    _require_unique(table)
    scores = _scores(outcomes)
    weak_means, strong_means = (_means(outcomes, scores, models) for models in (weak, strong))
    rows = [
        row for row, uid in enumerate(table["uid"]) if uid in weak_means and uid in strong_means
    ]
    if not rows:
        who = f"{', '.join(weak)} and {', '.join(strong)}"
        raise Misconfigured(f"has no prompt that both {who} answered", field=str(outcomes))
    uids = [table["uid"][row] for row in rows]
    low, high = (np.array([means[uid] for uid in uids]) for means in (weak_means, strong_means))
    scale = max(1.0, float(low.max()), float(high.max()))
    return Dataset(
        uids,
        [table["prompt"][row] for row in rows],
        [table["job_type"][row] or "" for row in rows] if job_type else None,
        [table["source"][row] or "" for row in rows] if "source" in table else [""] * len(rows),
        low / scale,
        high / scale,
        scale,
    )


def require_enough(count: int, folds: int | None = None) -> None:
    """Check that there are enough prompts to fit to.

    Args:
        count: number of prompts.
        folds: number of folds; a fit sees all prompts but those of the largest fold.

    Raises:
        Misconfigured: There are fewer than `MIN_PROMPTS` prompts to fit to.
    """
    fitted = count - math.ceil(count / folds) if folds else count
    if fitted < MIN_PROMPTS:
        raise Misconfigured(
            f"only {fitted} prompts; {MIN_PROMPTS} are needed to fit on", field="--prompts"
        )


def _require_unique(table: Table) -> None:
    seen: set[str] = set()
    for row, uid in enumerate(table["uid"]):
        if uid in seen:
            raise table.wrong(row, "column 'uid' names a prompt for the second time")
        seen.add(uid)


def _scores(path: Path) -> dict[str, dict[str, float]]:
    """Return the score of each model's answer to each prompt, by model, then by uid.

    `fmean` makes the mean of several answers independent of their order.
    """
    table = columns(path, ["uid", "model", "score"])
    scores: dict[str, dict[str, list[float]]] = {}
    for uid, model, score in zip(table["uid"], table["model"], table["score"], strict=True):
        scores.setdefault(model, {}).setdefault(uid, []).append(score)
    return {
        model: {uid: fmean(each) for uid, each in by_uid.items()}
        for model, by_uid in scores.items()
    }


def _means(
    path: Path, scores: Mapping[str, Mapping[str, float]], models: Sequence[str]
) -> dict[str, float]:
    """Return the mean score of each prompt over those of these models that answered it."""
    for model in models:
        if model not in scores:
            raise Misconfigured(
                f"column 'model' has no {model!r}; it has {', '.join(sorted(scores))}",
                field=str(path),
            )
    by_uid: dict[str, list[float]] = {}
    for model in models:
        for uid, score in scores[model].items():
            by_uid.setdefault(uid, []).append(score)
    return {uid: sum(each) / len(each) for uid, each in by_uid.items()}
