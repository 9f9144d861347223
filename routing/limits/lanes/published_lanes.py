"""What the routers' policy says of jobs whose lane is no question, published in Redis.

`create.lua` reads it and puts such a job into its lane's queue at once. A later change of the
policy is caught by the lane's worker (`LaneCheck`) and, if nobody serves the queue, by the sweeper.
"""

from __future__ import annotations

import hashlib
import json
from typing import cast

import redis

from forebay.routing.base import KINDS
from forebay.routing.policy.policy_file import Policy, PolicyFile
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
