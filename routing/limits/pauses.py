"""Pauses by an operator: what is paused waits, until somebody resumes it. Held in Redis."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, get_args

import redis

from forebay.routing.base import KINDS
from forebay.routing.errors import InvalidJob
from forebay.routing.lanes import Hop
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import run
from forebay.routing.store.ttl_cache import TtlCache

KEY = "fb:paused"
LOOK_EVERY_S = 0.5
HOPS: tuple[str, ...] = get_args(Hop)
#: What can be paused: a hop, kind, tenant or model on Bedrock; Bedrock for one tenant; a worker.
SORTS = ("lane", "kind", "tenant", "model", "bedrock", "worker")


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause.

    Attributes:
        scope: `lane:bedrock`, `kind:embed`, `tenant:acme`, `model:<id>`, `bedrock:acme` (Bedrock
            for one tenant), or `worker:<name>` (`forebay workers drain`).
        reason: what the operator wrote.
        since: Unix time at which it began.
    """

    scope: str
    reason: str
    since: float


def keep_order(client: redis.Redis, key: str, name: str, value: str) -> None:
    """Keep an operator's order in a hash, whether or not Redis is out of memory.

    Raises:
        Unavailable: Redis cannot be reached.
        Misconfigured: This user of Redis gives no orders.
    """
    with reaching_redis():
        run(client, "order", key, name, value)


class Pauses:
    """The pauses in one Redis. `claim.lua` holds back lanes and tenants, workers the rest."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._cached = TtlCache(self._scopes, LOOK_EVERY_S)

    def pause(self, scope: str, reason: str = "") -> None:
        """Pause a scope; a second pause changes its reason.

        Raises:
            InvalidJob: There is no such scope.
        """
        value = json.dumps({"reason": reason, "since": time.time()})
        keep_order(self._redis, KEY, checked(scope), value)

    def resume(self, scope: str) -> bool:
        """Resume a scope; return false if it was not paused."""
        with reaching_redis():
            return bool(self._redis.hdel(KEY, checked(scope)))

    def knows(self, tenant: str) -> bool:
        """Return whether a tenant has submitted a job that the sweeper has seen."""
        with reaching_redis():
            return bool(self._redis.hexists("fb:tenants", tenant))

    def all(self) -> list[Pause]:
        """Return all pauses, by scope."""
        with reaching_redis():
            stored: Any = self._redis.hgetall(KEY)
        return sorted(
            (_pause(scope.decode(), value) for scope, value in stored.items()),
            key=lambda pause: pause.scope,
        )

    def hold(self, *scopes: str) -> bool:
        """Return whether any of these scopes is paused, as of half a second ago at most."""
        paused = self._cached()
        return bool(paused) and not paused.isdisjoint(scopes)

    def _scopes(self) -> frozenset[str]:
        with reaching_redis():
            names: Any = self._redis.hkeys(KEY)
        return frozenset(name.decode() for name in names)


def checked(scope: str) -> str:
    """Return a scope that can be paused.

    Raises:
        InvalidJob: Names what is wrong with it.
    """
    sort, _, name = scope.partition(":")
    known = {"lane": HOPS, "kind": KINDS}.get(sort)
    if sort not in SORTS or not name:
        forms = ", ".join(f"{one}:NAME" for one in SORTS)
        raise InvalidJob(f"must be one of {forms}, not {scope}", field="scope")
    if known and name not in known:
        raise InvalidJob(f"must be one of {', '.join(known)}, not {name}", field="scope")
    return scope


def _pause(scope: str, value: bytes) -> Pause:
    try:
        fields = json.loads(value)
        return Pause(scope, str(fields["reason"]), float(fields["since"]))
    except (ValueError, TypeError, KeyError):
        return Pause(scope, "", 0.0)
