"""Verdicts: the router model's, moved by what audits have shown of this fleet's own jobs."""

from __future__ import annotations

import redis

from forebay.routing.jobs import Job, Verdict
from forebay.routing.learning.calibration import Calibrations
from forebay.routing.learning.job_types import TypeGaps
from forebay.routing.scoring.request_features import request_features
from forebay.routing.scoring.router_model import VerdictSource
from forebay.routing.scoring.text_features import text_features

PLACES = 4  # decimals of a feature


class Verdicts:
    """Combines the router model, the mean gap of the job's type and the tenant's calibration.

    If type or calibration cannot be read, the verdict goes without it.
    """

    def __init__(self, model: VerdictSource, client: redis.Redis, secret: bytes) -> None:
        self._model = model
        self._types = TypeGaps(client, secret)
        self._calibrations = Calibrations(client)

    def verdict(self, job: Job) -> Verdict:
        """Return the expected gap on Bedrock, and the probability that the local answer will do."""
        excess = self._types.excess(job)
        gap = None if excess is None else self._model.prior_gap(job.kind) + excess
        return self._calibrated(job, self._model.verdict(job, gap))

    def plain(self, job: Job) -> tuple[Verdict, float]:
        """Return the model's verdict alone, and its calibrated score without the job's type."""
        verdict = self._model.verdict(job)
        return verdict, self._calibrated(job, verdict).score

    def _calibrated(self, job: Job, verdict: Verdict) -> Verdict:
        calibration = self._calibrations.of(job.tenant)
        return calibration.move(verdict, features(job)) if calibration else verdict


def features(job: Job) -> dict[str, float]:
    """Return the inputs of `forebay calibrate`: kind, request and text as numbers, no content."""
    text, requested = request_features(job)
    values = {f"kind_{job.kind}": 1.0, **requested, **text_features(text)}
    return {name: round(value, PLACES) for name, value in values.items()}
