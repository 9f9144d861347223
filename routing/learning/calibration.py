"""Calibration: numbers learned from audits, which move verdicts, doubts and label probabilities.

Redis keeps the versions. `forebay calibrate` fits and publishes a version, and workers follow
within seconds. An operator can roll back to any version that is still kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import redis
from pydantic import ConfigDict, Field, ValidationError

from forebay.routing.base import FrozenModel
from forebay.routing.errors import InvalidJob, Unavailable
from forebay.routing.learning.doubt_calibration import DoubtCalibration
from forebay.routing.learning.label_calibration import LabelCalibration
from forebay.routing.learning.versions import Versions
from forebay.routing.receipts import Verdict
from forebay.routing.scoring.logit import logistic, logit
from forebay.routing.store.ttl_cache import TtlCache

#: The scope of a calibration for all tenants. Any other scope is a tenant's name.
EVERYBODY = "*"
#: The parts of a calibration, in words.
PARTS = {
    "probability": "the verdict's probability",
    "score": "the verdict's score",
    "doubt": "the doubt without a second opinion",
    "second": "the doubt with a second opinion",
    "labels": "the probabilities of labels and decisions",
}
#: How long the calibration of a tenant is cached.
LOOK_EVERY_S = 5.0


class Calibration(FrozenModel):
    """A correction of everything that workers predict.

    The verdict has Platt scaling of its probability, and a linear term for its score.

    Attributes:
        version: the number of this calibration in its scope, from 1.
        model: version of the router model that it was fitted to. Verdicts of other versions are
            not moved; doubts and label probabilities are.
        made: when it was published, in Unix seconds.
        slope, intercept: Platt scaling of the log-odds that the local answer will do.
        start, weights: a constant, and a weight by feature, that are added to the score.
        doubt: the correction of the doubt; `None` for none.
        labels: the correction of label probabilities; `None` for none.
        audits: how many audits it was fitted to.
        parts: what it changed, against the version before: keys of `PARTS`.
        report: figures that it was accepted for, measured on held-back audits.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    version: int = Field(0, ge=0)
    model: str
    made: float = 0.0
    slope: float = Field(1.0, ge=0)
    intercept: float = 0.0
    start: float = 0.0
    weights: dict[str, float] = Field(default_factory=dict, max_length=200)
    doubt: DoubtCalibration | None = None
    labels: LabelCalibration | None = None
    audits: int = Field(0, ge=0)
    parts: tuple[str, ...] = ()
    report: dict[str, float] = Field(default_factory=dict, max_length=50)

    def chance(self, probability: float) -> float:
        """Return the calibrated probability that the local answer will do."""
        return logistic(self.slope * logit(probability) + self.intercept)

    def excess(self, features: dict[str, float]) -> float:
        """Return what is added to the score of a job with these features, from -1 to 1."""
        parts = (weight * features.get(name, 0.0) for name, weight in self.weights.items())
        return max(-1.0, min(1.0, self.start + math.fsum(parts)))

    def move(self, verdict: Verdict, features: dict[str, float]) -> Verdict:
        """Return the calibrated verdict; a verdict of another model version is unchanged."""
        if verdict.version != self.model:
            return verdict
        return verdict.model_copy(
            update={
                "probability": round(self.chance(verdict.probability), 6),
                "score": round(verdict.score + self.excess(features), 6),
                "version": f"{verdict.version}+{self.version}",
            }
        )


class Calibrations:
    """The calibrations in one Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._versions = Versions(client)
        self._cached = TtlCache(self._read_for, LOOK_EVERY_S)

    def of(self, tenant: str) -> Calibration | None:
        """Return the calibration of a tenant, else of all tenants, else None.

        It is cached for some seconds. If Redis cannot be reached, the last value is returned.
        """
        try:
            return self._cached(tenant)
        except Unavailable:
            return None

    def current(self, scope: str) -> Calibration | None:
        """Return the current version of a scope, or None."""
        number = self._versions.current(_key(scope))
        value = self._versions.read(_key(scope), number) if number else None
        return _parsed(value) if value else None

    def versions(self, scope: str) -> list[Calibration]:
        """Return the versions of a scope that are kept, the newest first."""
        parsed = (_parsed(value) for value in self._versions.kept(_key(scope)).values())
        return [calibration for calibration in parsed if calibration is not None]

    def publish(self, scope: str, calibration: Calibration) -> Calibration:
        """Store a calibration as the next version of a scope, and make it current."""
        made = time.time()

        def published(number: int) -> Calibration:
            return calibration.model_copy(update={"version": number, "made": made})

        return published(
            self._versions.publish(_key(scope), lambda number: published(number).model_dump_json())
        )

    def roll_back(self, scope: str, version: int) -> None:
        """Make an earlier version current; 0 stands for no calibration in this scope.

        A tenant without a calibration has that of all tenants. Without that, the model's verdicts
        are not moved.

        Raises:
            InvalidJob: The version is not kept.
        """
        self._versions.roll_back(_key(scope), version)

    def _read_for(self, tenant: str) -> Calibration | None:
        return self.current(tenant) or self.current(EVERYBODY)


def in_words(parts: Iterable[str]) -> str:
    """Return the names of these parts, for people."""
    return ", ".join(PARTS.get(part, part) for part in parts)


def _key(scope: str) -> str:
    return f"fb:calibration:{scope}"


def _parsed(value: bytes) -> Calibration | None:
    try:
        return Calibration.model_validate_json(value)
    except (ValidationError, InvalidJob):  # written by another version or another program
        return None
