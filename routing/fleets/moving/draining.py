"""What a tenant still has under way in the fleet that it leaves."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import redis

from forebay.routing.fleets.moving import copying
from forebay.routing.ledger.record import ENDED, fields_of
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.limits.budget import Budget, Reservation
from forebay.routing.store.connection import reaching_redis, text_of

QUEUES = frozenset({"route", "embed", "bedrock"})  # besides those that workers have named
CLASSES = ("interactive", "bulk", "rows")
MAX_CALLS = 100_000


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What has not ended.

    Attributes:
        waiting: jobs that wait in a queue, or for their retry.
        running: jobs that workers hold.
        calls: calls of Bedrock that may still be running.
        batches: batches of the gateway that a process works on.
        others: jobs in batches of Bedrock, and jobs that no queue leads to until the sweeper finds
            them.
    """

    waiting: int
    running: int
    calls: int
    batches: int
    others: int = 0

    def __bool__(self) -> bool:
        return any(astuple(self))

    def __str__(self) -> str:
        counts = zip(self.__slots__, astuple(self), strict=True)
        return ", ".join(f"{count:,} {name}" for name, count in counts if count) or "nothing"


def under_way(client: redis.Redis, tenant: str) -> UnderWay:
    """Return what a tenant has under way in a fleet. All records are read if nothing else is left.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    with reaching_redis():
        found = UnderWay(
            _waiting(client, tenant) + _of_tenant(client, "fb:later", tenant),
            _of_tenant(client, "fb:leases", tenant),
            len(running_calls(client, tenant)),
            _worked_batches(client, tenant),
        )
        return found or UnderWay(0, 0, 0, 0, _unended(client, tenant))


def open_calls(client: redis.Redis, tenant: str) -> list[Reservation]:
    """Return the calls of a tenant whose cost is not known yet."""
    return [call for call in Budget(client).open(MAX_CALLS) if call.tenant == tenant]


def running_calls(client: redis.Redis, tenant: str) -> list[Reservation]:
    """Return the open calls of a tenant whose term has not ended, so that they may be running."""
    calls = open_calls(client, tenant)
    with reaching_redis(), client.pipeline(transaction=False) as pipe:
        for call in calls:
            pipe.exists(f"fb:spend:job:{call.job_id}")
        alive = pipe.execute()
    return [call for call, runs in zip(calls, alive, strict=True) if runs]


def on_bedrock(client: redis.Redis, tenant: str) -> int:
    """Return how many jobs of a tenant a worker of Bedrock holds, or may still be paying for."""
    with reaching_redis():
        members: Any = client.zrange("fb:leases", 0, -1)
        own = [member for member in members if member.startswith(f"{tenant}.".encode())]
    rows = fields_of(Transitions(client), list(map(text_of, own)), ["hop"])
    return rows.count([b"bedrock"]) + len(running_calls(client, tenant))


def _waiting(client: redis.Redis, tenant: str) -> int:
    stored: Any = client.smembers("fb:queues")
    queues = sorted(QUEUES | {queue.decode() for queue in stored})
    with client.pipeline(transaction=False) as pipe:
        for queue in queues:
            for name in CLASSES:
                pipe.zcard(f"fb:waiting:{queue}:{name}:{tenant}")
        return sum(pipe.execute())


def _of_tenant(client: redis.Redis, index: str, tenant: str) -> int:
    members: Any = client.zrange(index, 0, -1)
    return sum(member.startswith(f"{tenant}.".encode()) for member in members)


def _worked_batches(client: redis.Redis, tenant: str) -> int:
    members: Any = client.zrange("fb:batches:open", 0, -1)
    own = [member.decode() for member in members if member.startswith(f"{tenant}.".encode())]
    return int(client.exists(*(f"fb:lease:{batch}" for batch in own))) if own else 0


def _unended(client: redis.Redis, tenant: str) -> int:
    count, transitions = 0, Transitions(client)
    for page in copying.scan(client, f"fb:job:{tenant}.*"):
        ids = [name.removeprefix("fb:job:") for name in page]
        states = [text_of(state) for (state,) in fields_of(transitions, ids, ["state"]) if state]
        count += sum(state not in ENDED for state in states)
    return count
