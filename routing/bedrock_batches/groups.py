"""The groups in which jobs wait for a batch on Bedrock: a tenant's jobs for one model."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import redis

from forebay.routing.ledger.claim import Claim, check_moved
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.store.connection import clock_of, decoded, reaching_redis
from forebay.routing.store.ttl_cache import TtlCache

LOOK_EVERY_S = 1.0
ALL_TENANTS = "*"
_GROUPS, _RESTS = "fb:bedrock:groups", "fb:bedrock:rests"


@dataclass(frozen=True, slots=True)
class Rest:
    """Why no batch of a model is made until a moment (Unix seconds)."""

    model: str
    until: float
    why: str


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that may share a batch.

    Attributes:
        name: `<tenant> <model>`; the tenant is `*` if the policy mixes them.
        jobs: how many wait.
        oldest_s: for how long the first of them has waited.
    """

    name: str
    jobs: int
    oldest_s: float

    @property
    def tenant(self) -> str:
        """The tenant, or `*`."""
        return self.name.partition(" ")[0]

    @property
    def model(self) -> str:
        """The id of the model, or of an inference profile."""
        return self.name.partition(" ")[2]


def group_name(tenant: str, model: str, *, by_tenant: bool) -> str:
    """Return the name of the group of a job."""
    return f"{tenant if by_tenant else ALL_TENANTS} {model}"


class WaitingGroups:
    """The groups in one Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._transitions = Transitions(client)
        self._resting = TtlCache(self._rests, LOOK_EVERY_S)

    def defer(self, claim: Claim, group: str, wait_s: float) -> None:
        """Have a job wait in a group, and for `wait_s` at most.

        Raises:
            EgressDenied: The content may not leave.
            Lost: The claim no longer holds the job.
        """
        args = claim.id, claim.token, group, max(1, int(wait_s * 1_000))
        check_moved(self._transitions.run("defer", *args))

    def all(self) -> list[Group]:
        """Return the groups in which jobs wait, by name."""
        with reaching_redis():
            names = sorted(_texts(self._redis.smembers(_GROUPS)))
            now = clock_of(self._redis)
            with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.zcard(f"fb:bedrock:group:{name}")
                    pipe.zrange(f"fb:bedrock:group:{name}", 0, 0, withscores=True)
                replies = pipe.execute()
        return [
            Group(name, jobs, max(0.0, now - first[0][1] / 1_000))
            for name, jobs, first in zip(names, replies[::2], replies[1::2], strict=True)
            if first
        ]

    def jobs(self, group: str, most: int) -> list[str]:
        """Return the ids of the jobs of a group that have waited longest."""
        with reaching_redis():
            ids: Any = self._redis.zrange(f"fb:bedrock:group:{group}", 0, most - 1)
        return [job_id.decode() for job_id in ids]

    def rest(self, model: str, for_s: float, why: str) -> None:
        """Make no batch of a model for a while."""
        value = json.dumps({"until": time.time() + for_s, "why": why})
        with reaching_redis():
            self._redis.hset(_RESTS, model, value)

    def resting(self) -> dict[str, Rest]:
        """Return the models of which no batch is made now, as of a second ago at most."""
        now = time.time()
        return {model: rest for model, rest in self._resting().items() if rest.until > now}

    def rests(self, model: str) -> bool:
        """Return whether no batch of a model is made now."""
        rest = self._rests().get(model)
        return rest is not None and rest.until > time.time()

    def _rests(self) -> dict[str, Rest]:
        with reaching_redis():
            stored: Any = self._redis.hgetall(_RESTS)
        return {model: _rest(model, value) for model, value in decoded(stored).items()}


def _texts(names: Any) -> set[str]:
    """Return names that Redis holds as text."""
    return {name.decode() for name in names}


def _rest(model: str, value: str) -> Rest:
    fields = json.loads(value)
    return Rest(model, float(fields["until"]), str(fields["why"]))
