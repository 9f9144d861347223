"""Metrics of batches on Bedrock: what waits for one, which are open, how the last ones ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import redis
from prometheus_client.core import Metric

from forebay.routing.bedrock_batches.batch_record import (
    ANSWERED,
    INTERRUPTED,
    LOST,
    OPEN_STATES,
    TOO_FEW,
    BatchRecord,
)
from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.bedrock_batches.groups import WaitingGroups
from forebay.routing.policy.batch_table import BatchPolicy
from forebay.workers.telemetry.metrics.families import gauge, gauge_by
from forebay.workers.telemetry.metrics.labels import MAX_MODELS, OTHER, largest

HOUR_MS = 3_600_000
#: Outcomes that are no fault: nothing was sent, and the jobs wait again or are called one by one.
UNSENT = frozenset({INTERRUPTED, TOO_FEW})
#: How a batch ended. `unknown`: nobody knows whether some of its records were billed.
ENDS = ("answered", "failed", "unknown")


def batch_metrics(client: redis.Redis, policy: BatchPolicy) -> Iterator[Metric]:
    """Yield the figures of all batches of a fleet.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    yield from _waiting(client, policy)
    batches = BedrockBatches(client)
    now_ms = batches.now_ms()
    yield from _open(batches.open(), now_ms)
    recent = [batch for batch in batches.ended() if now_ms - batch.ended_at < HOUR_MS]
    ends = Counter(_end(batch) for batch in recent if batch.outcome not in UNSENT)
    text = "Batches on Bedrock that ended in the last hour"
    counts = {end: ends[end] for end in ENDS}
    yield gauge_by("bedrock_batches_ended_hour", text, "outcome", counts)


def _waiting(client: redis.Redis, policy: BatchPolicy) -> Iterator[Metric]:
    """Yield the jobs that wait for a batch, since when, and the models that have none for now."""
    groups = WaitingGroups(client)
    jobs, oldest = Counter[str](), dict[str, float]()
    found = groups.all()
    for group in found:
        jobs[group.model] += group.jobs
    shown = largest(dict(jobs), MAX_MODELS)
    for group in found:
        model = group.model if group.model in shown else OTHER
        oldest[model] = max(oldest.get(model, 0.0), group.oldest_s)
    yield gauge_by("bedrock_group_jobs", "Jobs that wait for a batch on Bedrock", "model", shown)
    text = "For how long the first of them has waited"
    yield gauge_by("bedrock_group_oldest_seconds", text, "model", oldest)
    limit_s = policy.max_wait_s if policy.is_on else 0
    yield gauge("bedrock_group_limit_seconds", "max_wait_s of the policy", limit_s)
    resting = dict.fromkeys(sorted(groups.resting())[:MAX_MODELS], 1)
    text = "1 while no batch of the model is made, as one was refused"
    yield gauge_by("bedrock_batches_refused", text, "model", resting)


def _open(found: list[BatchRecord], now_ms: int) -> Iterator[Metric]:
    """Yield the batches that have not ended."""
    counts = Counter(batch.state for batch in found)
    text = "Batches on Bedrock that have not ended"
    yield gauge_by("bedrock_batches", text, "state", {each: counts[each] for each in OPEN_STATES})
    text = "Age of the oldest batch on Bedrock that has not ended"
    oldest_s = max(0, now_ms - found[0].at) / 1_000 if found else 0
    yield gauge("bedrock_batches_oldest_seconds", text, oldest_s)
    late = sum(now_ms - batch.at > batch.turnaround_ms for batch in found)
    yield gauge("bedrock_batches_overdue", "Of these, older than turnaround_s", late)


def _end(batch: BatchRecord) -> str:
    if batch.unknown or batch.outcome == LOST:
        return "unknown"
    return "answered" if batch.outcome == ANSWERED else "failed"
