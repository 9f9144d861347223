"""The pace at which jobs go up to Bedrock: the hardest first, and as many as the operator wants.

A threshold on a score does not carry over from one traffic to another, a quantile of one's own
does. So a job is compared with the last scores of its kind, and a controller in Redis, shared by
all workers, moves the share that goes until a share of the jobs, or dollars a day, is met.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import redis

from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Job
from forebay.routing.policy.frontier_state import Pace
from forebay.routing.policy.policy_file import PacePolicy, Policy
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import transition
from forebay.routing.store.ttl_cache import TtlCache

#: What a call is guessed to cost, in billionths of a dollar, until the books know better.
CALL_NUSD = 5_000_000
DAY_S, HOUR_S = 86_400, 3_600
#: How long a look at Redis' clock is good; two clocks do not part that fast.
LOOK_EVERY_S = 60.0

Stage = Literal["before", "after"]

_log = logging.getLogger(__name__)


class Pacer:
    """The controller in Redis. Safe to share between threads.

    1. `offer` a job that may leave, once before the answer (its verdict's score) and, if it then
       stays, once after it (the doubt that the local answer will do).
    2. Say `hard` instead of the second where the answer failed its checks: the job goes up
       whatever the pace is, and others make room for it.

    A job that may not go up, or is pinned, is not offered. A job that is worked twice is counted
    twice, which the controller corrects. Neither ever raises: without Redis the policy's constants
    hold.
    """

    def __init__(self, client: redis.Redis, now: Callable[[], float] | None = None) -> None:
        """`now` is Unix time in seconds by Redis' clock, which is asked for it where left out."""
        self._script = client.register_script(transition("pace"))
        self._now = now or _Clock(client)

    def offer(self, job: Job, rules: Policy, stage: Stage, score: float) -> Pace | None:
        """Whether this job goes up; none where no pace is set, or it cannot be asked.

        Args:
            job: one that may leave.
            rules: says the target.
            stage: before or after the local answer.
            score: the higher, the more is to be gained on Bedrock. Compared with scores of the same
                tenant, kind and stage alone.
        """
        said = self._ask(job, rules, stage, score)
        if said is None:
            return None
        go, threshold, aim, rank = said
        return Pace(
            go=bool(go),
            threshold=float(threshold) if threshold else None,
            aim=float(aim),
            rank=float(rank),
        )

    def hard(self, job: Job, rules: Policy) -> None:
        """Count a job that goes up because its local answer failed its checks."""
        self._ask(job, rules, "hard", 0.0)

    def _ask(self, job: Job, rules: Policy, stage: str, score: float) -> list[Any] | None:
        try:
            with reaching_redis():
                target = self._target(rules.tenant(job.tenant).pace)
                args = [job.tenant, job.kind, stage, score, _tie(job.id, stage), *target]
                said: list[Any] | None = self._script(args=args)
        except ForebayError as error:
            _log.warning("the pace cannot be asked, the policy's constants hold: %s", error)
            return None
        return said

    def _target(self, pace: PacePolicy) -> list[str | float]:
        """What the script wants to know of the target; `''` for none."""
        share = "" if pace.share == "none" else pace.share
        money = pace.usd_per_day_nusd
        if money is None:
            return [share, pace.before, "", CALL_NUSD, 0, 0]
        now = self._now()
        part = hourly(pace.day_shape, now % DAY_S / DAY_S)
        return [share, pace.before, money, CALL_NUSD, part, now]


class _Clock:
    """Redis' clock, asked once a minute."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._ahead = TtlCache(self._look, LOOK_EVERY_S)

    def __call__(self) -> float:
        return self._ahead() + time.monotonic()

    def _look(self) -> float:
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6 - time.monotonic()


def hourly(shape: Sequence[float], at: float) -> float:
    """The part of what is left of a day's money that an hour takes, at the rate of this moment.

    Args:
        shape: a weight for each part of the day, parts of equal length.
        at: now, as a part of the day, from 0 and below 1.

    Returns:
        More than 1 near the end of the day, where less than an hour is left; 0 where the shape has
        nothing to spend now.
    """
    left = 1 - _spread(shape, at)
    weight = shape[int(at * len(shape))]
    rate = weight / sum(shape) * len(shape) * HOUR_S / DAY_S
    return rate / left if weight else 0.0


def _spread(shape: Sequence[float], at: float) -> float:
    """The share of a day's money that is to be spent by then."""
    whole, part = divmod(at * len(shape), 1)
    return (sum(shape[: int(whole)]) + shape[int(whole)] * part) / sum(shape)


def _tie(job_id: str, stage: str) -> float:
    """A number from 0 to 1 that tells equal scores apart, always the same for the same job."""
    digest = hashlib.blake2b(f"{stage} {job_id}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
