"""The workers of a fleet, as their heartbeats describe them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import redis
from pydantic import ValidationError

from forebay.routing.ledger.worker_status import WorkerStatus
from forebay.routing.store.connection import clock_of, reaching_redis

ALIVE_S = 10.0  # a worker without a heartbeat for so long counts as gone
MAX_WORKERS = 10_000

State = Literal["working", "idle", "drained", "stuck", "gone"]


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """A worker, and how many seconds ago it was seen."""

    status: WorkerStatus
    seen_s: float
    age_s: float

    @property
    def state(self) -> State:
        """What the worker does: `gone` if its heartbeat stopped and nobody stopped it."""
        if self.seen_s > ALIVE_S:
            return "gone"
        if self.status.drained:
            return "drained"
        if not self.status.well:
            return "stuck"
        return "working" if self.status.busy else "idle"


class Workers:
    """Reads the workers of one Redis. Its methods raise `Unavailable` without it."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def all(self) -> list[SeenWorker]:
        """Return the workers seen in the last hour by name, unless they ended in order."""
        with reaching_redis():
            now = clock_of(self._redis)
            seen: Any = self._redis.zrange("fb:workers", 0, MAX_WORKERS - 1, withscores=True)
            keys = [f"fb:worker:{name.decode()}" for name, _ in seen]
            stored: Any = self._redis.mget(keys) if keys else []
        found = [
            SeenWorker(status, max(0.0, now - at_ms / 1000), max(0.0, now - status.started))
            for (_, at_ms), value in zip(seen, stored, strict=True)
            if (status := _status(value)) is not None
        ]
        return sorted(found, key=lambda worker: worker.status.name)

    def named(self, name: str) -> SeenWorker | None:
        """Return the worker of this name, if there is one."""
        return next((worker for worker in self.all() if worker.status.name == name), None)

    def slots(self) -> dict[str, int]:
        """Return the slots of all live workers that take jobs, by queue."""
        slots: dict[str, int] = {}
        for worker in self.all():
            if worker.state in {"working", "idle"}:
                for queue in worker.status.queues:
                    slots[queue] = slots.get(queue, 0) + worker.status.slots
        return slots


def emptied_at(workers: Iterable[SeenWorker]) -> float:
    """Return when Redis lost its data, as the workers noticed (Unix time); 0 if it did not."""
    return max((worker.status.emptied for worker in workers), default=0.0)


def other_policies(version: str, workers: Iterable[SeenWorker]) -> list[str]:
    """Return the names of the live workers whose policy has another version."""
    return [
        worker.status.name
        for worker in workers
        if worker.state != "gone" and worker.status.policy not in {"", version}
    ]


def _status(value: bytes | None) -> WorkerStatus | None:
    try:
        return WorkerStatus.model_validate_json(value) if value else None
    except ValidationError:
        return None
