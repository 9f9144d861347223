"""What the routers' policy says of jobs whose lane is no question, published in Redis.

`create.lua` reads it and puts such a job into its lane's queue at once. A later change of the
policy is caught by the lane's worker (`LaneCheck`) and, if nobody serves the queue, by the sweeper.
"""

from __future__ import annotations

import hashlib
import json
from typing import Protocol, cast

import redis

from forebay.routing.base import KINDS, Kind
from forebay.routing.lanes import hop_of
from forebay.routing.limits.pauses import Pauses
from forebay.routing.policy.policy_file import Policy, PolicyFile
from forebay.routing.reasons import Reason
from forebay.routing.store.connection import reaching_redis

KEY = "fb:lanes"
EPOCH = "epoch"
#: For so long what the last router said is in force. Without it all jobs go before the router.
KEPT_S = 600


class PublishedLanes:
    """Publishes the lanes of one router's policy."""

    def __init__(self, client: redis.Redis, policy: PolicyFile) -> None:
        self._redis = client
        self._policy = policy

    def publish(self) -> None:
        """Publish the policy in force if that has changed, for the next `KEPT_S` seconds."""
        fields = lanes_of(self._policy.current())
        with reaching_redis():
            known = cast("bytes | None", self._redis.hget(KEY, EPOCH))
            with self._redis.pipeline() as pipe:
                if known != fields[EPOCH].encode():
                    pipe.delete(KEY)
                    pipe.hset(KEY, items=[part for pair in fields.items() for part in pair])
                pipe.expire(KEY, KEPT_S)
                pipe.execute()


def lanes_of(policy: Policy) -> dict[str, str]:
    """Return what is published of a policy; the head of `prelude.lua` describes the fields."""
    fields: dict[str, str] = {}
    for name in ("", *policy.tenants):
        rules = policy.tenant(name)
        fields |= {f"{name}/{kind}": rules.queue_of(kind) for kind in KINDS}
        fields[f"{name}/deny"] = str(int(rules.force_deny))
        fields[f"{name}/bedrock"] = str(int(bool(policy.models(name))))
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return fields | {EPOCH: digest[:16]}


class Placed(Protocol):
    """What is looked at of a job's record."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def kind(self) -> Kind:
        """The kind of its request."""

    @property
    def queue(self) -> str:
        """The queue that it was taken from."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is there."""


class LaneCheck:
    """Does at a lane what the router does for other jobs: follows pauses and the policy.

    Whether the content may leave is not decided here: Bedrock's worker checks that for every job.
    """

    def __init__(self, client: redis.Redis, policy: PolicyFile) -> None:
        self._pauses = Pauses(client)
        self._policy = policy

    def paused(self, record: Placed) -> bool:
        """Return whether an operator has paused jobs of this kind that skip the router."""
        skipped = Reason.ROUTED_AT_SUBMIT in record.reasons
        return skipped and self._pauses.hold(f"kind:{record.kind}")

    def queue(self, record: Placed) -> str:
        """Return the queue in which a job belongs by the policy in force; mostly its own."""
        if Reason.ROUTED_AT_SUBMIT not in record.reasons or hop_of(record.queue) != "local":
            return record.queue
        tenant = record.id.partition(".")[0]
        return self._policy.current().tenant(tenant).queue_of(record.kind)
