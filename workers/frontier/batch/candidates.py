"""Which jobs wait for a batch, and which wait because a batch still has them."""

from __future__ import annotations

import time
from collections.abc import Callable

from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.bedrock_batches.groups import WaitingGroups, group_name
from forebay.routing.jobs import Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.batch_table import BatchPolicy
from forebay.routing.policy.policy_file import Policy
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Deferred, Retry

#: How long after its time a job waits for the batcher before a sweep gives it back.
GRACE_S = 60.0
LOOK_AGAIN_S = 60.0  # at a batch that has not ended
_OUTSIDE = {None, "waiting", "over"}  # marks of a job that no batch has


class Candidates:
    """Decides for a job of the bedrock lane whether it waits. Safe to share between threads."""

    def __init__(
        self, ledger: Ledger, settings: BedrockSettings, prices: Callable[[], Prices]
    ) -> None:
        self._groups = WaitingGroups(ledger.redis)
        self._batches = BedrockBatches(ledger.redis)
        self._possible, self._prices = settings.takes_batches, prices

    def deferred(self, attempt: Attempt, policy: Policy, model: str) -> Deferred | None:
        """Return how a job waits for a batch of a model; `None` if it is to be called by itself."""
        rules, job = policy.batch, attempt.job
        if not (self._possible and rules.takes(model) and _can_wait(attempt, rules)):
            return None
        offered = self._prices().offers(policy.base_model(model), "batch")
        rest = self._groups.resting().get(model)
        if not offered or policy.endpoint(model) or (rest and rules.when_refused == "call"):
            return None
        group = group_name(job.tenant, model, by_tenant=rules.by_tenant)
        rest_s = max(0.0, rest.until - time.time()) if rest else 0.0
        return Deferred(group, rules.max_wait_s + GRACE_S + rest_s)

    def held(self, claim: Claim) -> Retry | None:
        """Return how a job waits on that a batch still has; `None` if no batch has it."""
        mark = claim.record.batch
        if mark in _OUTSIDE or mark is None or not self._batches.is_open(mark):
            return None
        note = "a batch on Bedrock has the job"
        return Retry("unavailable", note=note, delay_s=LOOK_AGAIN_S, counted=False)


def _can_wait(attempt: Attempt, rules: BatchPolicy) -> bool:
    """Return whether a job is bulk work with enough time that has been in no batch yet."""
    job, record = attempt.job, attempt.claim.record
    if job.priority != "bulk" or job.stream or record.batch is not None:
        return False
    return _time_left_s(job) > rules.max_wait_s + GRACE_S + rules.turnaround_s


def _time_left_s(job: Job) -> float:
    return float("inf") if job.deadline is None else job.deadline.timestamp() - time.time()
