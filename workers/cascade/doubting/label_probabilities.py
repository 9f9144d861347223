"""Label probabilities: corrected by what audits taught, before anything is decided by them."""

from __future__ import annotations

import redis

from forebay.routing.jobs import Classification, Decisions, Job
from forebay.routing.learning.calibration import Calibrations
from forebay.routing.learning.job_types import digest, question_digests
from forebay.routing.learning.label_calibration import (
    LabelCalibration,
    at_temperature,
    label_groups,
)
from forebay.workers.cascade.stages import RawAnswer


class LabelProbabilities:
    """Corrects the probabilities of answers to `classify` and `decide` (`forebay calibrate`)."""

    def __init__(self, client: redis.Redis, secret: bytes) -> None:
        self._calibrations = Calibrations(client)
        self._secret = secret

    def calibrated(self, job: Job, raw: RawAnswer) -> RawAnswer:
        """Return the answer with corrected probabilities; what was chosen stays."""
        if not isinstance(raw.content, Classification | Decisions):
            return raw
        labels = self._learned(job)
        if labels is None:
            return raw
        group = job.kind, raw.model, digest(job, self._secret)
        temperature = labels.temperature(label_groups(*group))
        of_questions = {
            name: labels.temperature(label_groups(*group, question)) / temperature
            for name, question in question_digests(job, self._secret).items()
        }
        content = at_temperature(job, raw.content, temperature, of_questions)
        return raw._replace(content=content)

    def corrects(self, job: Job) -> bool:
        """Return whether `calibrated` may change the probabilities of an answer to this job."""
        return self._learned(job) is not None

    def _learned(self, job: Job) -> LabelCalibration | None:
        calibration = self._calibrations.of(job.tenant)
        return None if calibration is None else calibration.labels
