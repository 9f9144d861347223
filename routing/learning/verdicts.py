"""Verdicts: the router model's, moved by what audits have shown of this fleet's own jobs."""

from __future__ import annotations

from collections.abc import Callable

import redis

from forebay.routing.jobs import Job, Verdict
from forebay.routing.learning.calibration import Calibrations
from forebay.routing.learning.job_types import TypeGaps
from forebay.routing.scoring.request_features import request_features
from forebay.routing.scoring.router_model import VerdictSource
from forebay.routing.scoring.text_features import text_features

PLACES = 4  # decimals of a feature
ENCODER = "encoder"  # the feature that is the sentence encoder's reading of the text


class Verdicts:
    """Combines the router model, the mean gap of the job's type and the tenant's calibration.

    If type or calibration cannot be read, the verdict goes without it.
    """

    def __init__(
        self, model: VerdictSource, client: redis.Redis, secret: bytes,
        reading: Callable[[str], float] | None = None,
    ) -> None:  # fmt: skip
        """Make the source of verdicts; `reading` reads texts by the sentence encoder."""
        self._reading = reading
        self._model = model
        self._types = TypeGaps(client, secret)
        self._calibrations = Calibrations(client)

    def verdict(self, job: Job) -> Verdict:
        """Return the expected gap on Bedrock, and the probability that the local answer will do."""
        excess = self._types.excess(job)
        gap = None if excess is None else self._model.prior_gap(job.kind) + excess
        verdict = self._model.verdict(job, gap)
        if self._reading is not None:
            encoded = round(self._reading(request_features(job)[0]), PLACES)
            verdict = verdict.model_copy(update={"encoded": encoded})
        return self._calibrated(job, verdict)

    def plain(self, job: Job, encoded: float | None) -> tuple[Verdict, float]:
        """Return the model's verdict alone, and its calibrated score without the job's type.

        `encoded` is the encoder's reading of the job when it was routed, if there was any.
        """
        verdict = self._model.verdict(job).model_copy(update={"encoded": encoded})
        return verdict, self._calibrated(job, verdict).score

    def _calibrated(self, job: Job, verdict: Verdict) -> Verdict:
        calibration = self._calibrations.of(job.tenant)
        return calibration.move(verdict, features(job, verdict.encoded)) if calibration else verdict


def features(job: Job, encoded: float | None = None) -> dict[str, float]:
    """Return the inputs of `forebay calibrate`: kind, request and text as numbers, no content."""
    text, requested = request_features(job)
    values = {f"kind_{job.kind}": 1.0, **requested, **text_features(text)}
    if encoded is not None:
        values[ENCODER] = encoded
    return {name: round(value, PLACES) for name, value in values.items()}
