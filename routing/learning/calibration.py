"""What was learned from audits, and moves verdicts: a few numbers, kept in Redis by version.

`forebay calibrate` fits and publishes them, routers follow within seconds, and any version that is
still kept can be made the current one again.
"""

from __future__ import annotations

import math
import time
from typing import Any

import redis
from pydantic import ConfigDict, Field, ValidationError

from forebay.routing.base import FrozenModel
from forebay.routing.errors import InvalidJob, Unavailable
from forebay.routing.receipts import Verdict
from forebay.routing.scoring.logit import logistic, logit
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.ttl_cache import TtlCache

#: The scope of a calibration for everybody; else it is a tenant's name.
EVERYBODY = "*"
#: Versions kept, of each scope.
MAX_VERSIONS_KEPT = 10
#: Seconds for which what was read is good.
LOOK_EVERY_S = 5.0


class Calibration(FrozenModel):
    """How a verdict is moved.

    Attributes:
        version: of this calibration in its scope, counted from 1.
        model: version of the router model that it was fitted to; another one is not moved.
        made: when, Unix seconds.
        slope, intercept: of the log-odds that the local answer will do (Platt).
        start, weights: added to the score: a constant, and a weight by feature.
        report: what it was accepted for, measured on a part that it was not fitted on.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    version: int = Field(0, ge=0)
    model: str
    made: float = 0.0
    slope: float = Field(1.0, ge=0)
    intercept: float = 0.0
    start: float = 0.0
    weights: dict[str, float] = Field(default_factory=dict, max_length=200)
    report: dict[str, float] = Field(default_factory=dict, max_length=50)

    def chance(self, probability: float) -> float:
        """The probability that the local answer will do, moved."""
        return logistic(self.slope * logit(probability) + self.intercept)

    def excess(self, features: dict[str, float]) -> float:
        """What is added to the score of a job with these features; no more than a whole answer."""
        parts = (weight * features.get(name, 0.0) for name, weight in self.weights.items())
        return max(-1.0, min(1.0, self.start + math.fsum(parts)))

    def move(self, verdict: Verdict, features: dict[str, float]) -> Verdict:
        """The verdict, moved; as it was where another model gave it."""
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
    """The versions in one Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._recent = TtlCache(self._look, LOOK_EVERY_S)

    def of(self, tenant: str) -> Calibration | None:
        """What holds for a tenant, as of a few seconds ago: its own, or everybody's, or none.

        Where Redis cannot be asked, what was read last holds.
        """
        try:
            return self._recent(tenant)
        except Unavailable:
            return None

    def current(self, scope: str) -> Calibration | None:
        """The current version of a scope; none where there is none."""
        with reaching_redis():
            number: Any = self._redis.hget(_key(scope), "current")
        return self._version(scope, int(number)) if number and number.isdigit() else None

    def versions(self, scope: str) -> list[Calibration]:
        """The versions of a scope that are kept, the newest first."""
        with reaching_redis():
            found: Any = self._redis.hgetall(_key(scope))
        read = (_parsed(value) for name, value in found.items() if name.isdigit())
        return sorted((one for one in read if one), key=lambda one: -one.version)

    def publish(self, scope: str, calibration: Calibration) -> Calibration:
        """Keep a calibration as the next version of a scope, and make it the current one."""
        key = _key(scope)
        with reaching_redis():
            number = int(self._redis.hincrby(key, "last", 1))
            made = calibration.model_copy(update={"version": number, "made": time.time()})
            with self._redis.pipeline() as pipe:
                pipe.hset(key, mapping={str(number): made.model_dump_json(), "current": number})
                pipe.hdel(key, str(number - MAX_VERSIONS_KEPT))
                pipe.execute()
        return made

    def roll_back(self, scope: str, version: int) -> None:
        """Make an earlier version the current one; 0 is none.

        Without one of its own a tenant has everybody's, and everybody the model as it came.

        Raises:
            InvalidJob: It is not kept.
        """
        if version and self._version(scope, version) is None:
            kept = ", ".join(["0", *(str(one.version) for one in reversed(self.versions(scope)))])
            raise InvalidJob(f"is not kept; there are {kept}", field="version")
        with reaching_redis():
            self._redis.hset(_key(scope), "current", version)

    def _version(self, scope: str, version: int) -> Calibration | None:
        with reaching_redis():
            value: Any = self._redis.hget(_key(scope), str(version))
        return _parsed(value) if value else None

    def _look(self, tenant: str) -> Calibration | None:
        return self.current(tenant) or self.current(EVERYBODY)


def _key(scope: str) -> str:
    return f"fb:calibration:{scope}"


def _parsed(value: bytes) -> Calibration | None:
    try:
        return Calibration.model_validate_json(value)
    except (ValidationError, InvalidJob):  # of another version of this program, or somebody else's
        return None
