"""Verdicts of the router model, moved by what audits have shown of this fleet's own jobs."""

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
    """The model, the mean gap of the job's type, and the calibration of its tenant.

    Whatever cannot be read of the last two, the model's own word holds.
    """

    def __init__(self, model: VerdictSource, client: redis.Redis, secret: bytes) -> None:
        self._model = model
        self._types = TypeGaps(client, secret)
        self._calibrations = Calibrations(client)

    def verdict(self, job: Job) -> Verdict:
        """What there is to gain on Bedrock, and the odds that the local answer will do."""
        excess = self._types.excess(job)
        gap = None if excess is None else self._model.prior_gap(job.kind) + excess
        return self._moved(job, self._model.verdict(job, gap))

    def plain(self, job: Job) -> tuple[Verdict, float]:
        """The model's own word, and the score that it comes to without the job's type."""
        said = self._model.verdict(job)
        return said, self._moved(job, said).score

    def _moved(self, job: Job, said: Verdict) -> Verdict:
        found = self._calibrations.of(job.tenant)
        return found.move(said, features(job)) if found else said


def features(job: Job) -> dict[str, float]:
    """What `forebay calibrate` fits: of the kind, the request and the text; numbers, no content."""
    text, asked = request_features(job)
    found = {f"kind_{job.kind}": 1.0, **asked, **text_features(text)}
    return {name: round(value, PLACES) for name, value in found.items()}
