"""A look at a job that skipped the router, just before a lane works it."""

from __future__ import annotations

from typing import Protocol

import redis

from forebay.routing.base import Kind
from forebay.routing.lanes import hop_of
from forebay.routing.limits.pauses import Pauses
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.reasons import Reason


class Placed(Protocol):
    """What is looked at of a job's record."""

    @property
    def tenant(self) -> str:
        """The job's tenant."""

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
        return self._policy.current().tenant(record.tenant).queue_of(record.kind)
