"""Pacing: send the hardest jobs to Bedrock, as many as the operator's target says.

A fixed threshold on a score fits one sort of traffic only; a quantile of the traffic's own scores
fits any. So each job is ranked among the last scores of its kind. An integral controller in Redis,
shared by all workers, adjusts the share of jobs that goes to Bedrock until the target is met. The
target is a share of the jobs, or dollars a day.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, Literal, NamedTuple

import redis

from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Job
from forebay.routing.limits.unpaced import UnpacedJobs
from forebay.routing.logs import Event, event
from forebay.routing.policy.frontier_state import Pace
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.tables import PacePolicy
from forebay.routing.store.connection import clock_of, reaching_redis
from forebay.routing.store.scripts import run_all
from forebay.routing.store.ttl_cache import TtlCache

#: Assumed cost of a call, in billionths of a dollar, until the books hold enough real calls.
CALL_NUSD = 5_000_000
DAY_S, HOUR_S = 86_400, 3_600
#: How long an offset to Redis' clock is used; two clocks do not drift apart that fast.
LOOK_EVERY_S = 60.0
#: How often the controller is asked about jobs that have neither a target nor an override. An
#: override that an operator sets takes so long to be noticed.
UNPACED_EVERY_S = 1.0

Stage = Literal["before", "after"]
_Row = tuple[Job, Policy, str, float]  # the job, its policy, the stage or `hard`, the score

_log = logging.getLogger(__name__)


class Offer(NamedTuple):
    """A job that may leave, offered to the controller.

    Attributes:
        policy: sets the target.
        stage: before or after the local answer.
        score: the higher the score, the more there is to gain on Bedrock. It is compared only with
            scores of the same tenant, kind and stage.
    """

    job: Job
    policy: Policy
    stage: Stage
    score: float


class Pacer:
    """The pacing controller in Redis. Safe to share between threads.

    1. `offer` a job that may leave before it is answered, with the score of its verdict.
    2. If it stays, `offer` it again after the local answer, with its doubt as the score.
    3. Instead of that, report it as `hard` if the answer failed its checks: the job goes to
       Bedrock whatever the pace is, and counts against the target.

    Do not offer a job that cannot go to Bedrock or is pinned. A job that is worked twice counts
    twice; the controller corrects that. No method raises if Redis cannot be reached: then the
    thresholds of the policy apply. Jobs without a target or an override cost no round trip: they
    are counted here, and reported once a second.
    """

    def __init__(
        self,
        client: redis.Redis,
        now: Callable[[], float] | None = None,
        unpaced_every_s: float = UNPACED_EVERY_S,
    ) -> None:
        """Use `now`, Unix time in seconds, as the clock; by default, Redis' clock."""
        self._redis = client
        self._now = now or _Clock(client)
        self._unpaced = UnpacedJobs(unpaced_every_s)

    def offer(self, job: Job, policy: Policy, stage: Stage, score: float) -> Pace | None:
        """Return the controller's decision, or None if it has no target or cannot be reached."""
        return self.offer_all([Offer(job, policy, stage, score)])[0]

    def offer_all(self, offers: Sequence[Offer]) -> list[Pace | None]:
        """Return the decision for each job, in one round trip; see `offer`."""
        rows = [(each.job, each.policy, each.stage, each.score) for each in offers]
        return [None if reply is None else _pace(*reply) for reply in self._run(rows)]

    def hard(self, job: Job, policy: Policy) -> None:
        """Count a job that goes to Bedrock because its local answer failed its checks."""
        self._run([(job, policy, "hard", 0.0)])

    def _run(self, rows: Sequence[_Row]) -> list[list[Any] | None]:
        """Run the script for each row that needs it; None stands for no target, or no Redis."""
        asked = [self._needs_asking(*row) for row in rows]
        replies = iter(self._replies(list(compress(rows, asked))))
        return [next(replies) if needed else None for needed in asked]

    def _needs_asking(self, job: Job, policy: Policy, stage: str, _score: float) -> bool:
        if policy.tenant(job.tenant).pace.is_set:
            return True
        return not self._unpaced.leave_out((job.tenant, job.kind, stage))

    def _replies(self, rows: Sequence[_Row]) -> list[list[Any] | None]:
        if not rows:
            return []
        try:
            with reaching_redis():
                replies = run_all(self._redis, "pace", [self._arguments(*row) for row in rows])
                for reply in replies:
                    if isinstance(reply, Exception):
                        raise reply
        except ForebayError as error:
            _log.warning(
                "pacing is not available, the policy's thresholds apply: %s",
                error,
                extra=event(Event.PACING_AWAY),
            )
            return [None] * len(rows)
        for (job, _, stage, _), reply in zip(rows, replies, strict=True):
            if reply is None:
                self._unpaced.rest((job.tenant, job.kind, stage))
        return replies

    def _arguments(self, job: Job, policy: Policy, stage: str, score: float) -> list[Any]:
        jobs = self._unpaced.take((job.tenant, job.kind, stage))
        target = self._target(policy.tenant(job.tenant).pace)
        return [job.tenant, job.kind, stage, jobs, score, _tie_breaker(job.id, stage), *target]

    def _target(self, pace: PacePolicy) -> list[str | float]:
        """Return the target as the script's arguments; `''` stands for no target."""
        share = "" if pace.share == "none" else pace.share
        usd_nusd = pace.usd_per_day_nusd
        if usd_nusd is None:
            return [share, pace.before, "", CALL_NUSD, 0, 0]
        now = self._now()
        part = hourly(pace.day_shape, now % DAY_S / DAY_S)
        return [share, pace.before, usd_nusd, CALL_NUSD, part, now]


def _pace(go: int, threshold: bytes, _aim: bytes, _rank: bytes) -> Pace:
    """Return the decision in a reply of the script."""
    return Pace(go=bool(go), threshold=float(threshold) if threshold else None)


class _Clock:
    """Redis' clock, read once a minute."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._offset = TtlCache(self._read_offset, LOOK_EVERY_S)

    def __call__(self) -> float:
        return self._offset() + time.monotonic()

    def _read_offset(self) -> float:
        return clock_of(self._redis) - time.monotonic()


def hourly(shape: Sequence[float], at: float) -> float:
    """Return the part of the day's remaining money that an hour takes at the present rate.

    Args:
        shape: a weight for each part of the day; the parts have equal length.
        at: the time as a part of the day, from 0 to below 1.

    Returns:
        Above 1 near the end of the day, when less than an hour is left; 0 if the shape has no
        weight at this time.
    """
    left = 1 - _spent_share(shape, at)
    weight = shape[int(at * len(shape))]
    rate = weight / sum(shape) * len(shape) * HOUR_S / DAY_S
    return rate / left if weight else 0.0


def _spent_share(shape: Sequence[float], at: float) -> float:
    """Return the share of a day's money that the shape plans to have spent by a time."""
    whole, part = divmod(at * len(shape), 1)
    return (sum(shape[: int(whole)]) + shape[int(whole)] * part) / sum(shape)


def _tie_breaker(job_id: str, stage: str) -> float:
    """Return a number from 0 to 1 that orders equal scores; always the same for the same job."""
    digest = hashlib.blake2b(f"{stage} {job_id}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
