"""Batches on Bedrock are seen: what waits for one, which are late, and how the last ones ended."""

from __future__ import annotations

import time

import pytest

from forebay.routing.bedrock_batches.batch_record import ANSWERED, INTERRUPTED, LOST, TOO_FEW
from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.bedrock_batches.groups import WaitingGroups
from forebay.routing.jobs import Generate, Job, Message
from forebay.routing.policy.batch_table import BatchPolicy
from forebay.workers.telemetry.metrics import batch_metrics

ON = BatchPolicy(bucket="acme-files", role_arn="arn:aws:iam::1:role/x", models=("m",))
ABOUT = {"model": "m", "turnaround_ms": "60000"}


@pytest.fixture
def read(redis):
    """Return what reads one figure, or `None` if there is none of these labels."""

    def sample(name, **labels):
        found = {
            (each.name, tuple(each.labels.items())): each.value
            for metric in batch_metrics.batch_metrics(redis, ON) for each in metric.samples
        }  # fmt: skip
        return found.get((f"forebay_bedrock_{name}", tuple(labels.items())))

    return sample


def defer(ledger, model, count) -> None:
    """Have new jobs wait for a batch."""
    request = Generate(messages=[Message(role="user", content="hello")])
    for _ in range(count):
        ledger.create([Job(tenant="acme", egress="allow", priority="bulk", request=request)])
        ledger.route(ledger.claim("route"), "bedrock", "allow", "verdict_hard", None)
        WaitingGroups(ledger.redis).defer(ledger.claim("bedrock"), f"acme {model}", 60)


def end(redis, batch_id, **fields) -> None:
    """Begin a batch that is empty, and end it."""
    batches = BedrockBatches(redis)
    batches.board(batch_id, "acme m", ABOUT, most=1, hold_s=60)
    assert batches.advance(batches.get(batch_id), "ended", **fields)


def test_jobs_that_wait_for_a_batch_are_counted_by_model_and_no_more_models_than_a_few(
    ledger, read, monkeypatch
):
    monkeypatch.setattr(batch_metrics, "MAX_MODELS", 1)
    for model, count in (("m", 2), ("n", 1), ("o", 1)):
        defer(ledger, model, count)
        ledger.redis.zincrby(f"fb:bedrock:group:acme {model}", -60_000, "")  # an older job
    assert (read("group_jobs", model="m"), read("group_jobs", model="other")) == (3, 4)
    assert read("group_jobs", model="n") is None
    assert read("group_oldest_seconds", model="m") > 60
    assert read("group_oldest_seconds", model="other") > 60
    assert read("group_limit_seconds") == 900


def test_without_batches_in_the_policy_there_is_no_limit(redis):
    samples = [
        each for metric in batch_metrics.batch_metrics(redis, BatchPolicy())
        for each in metric.samples if each.name == "forebay_bedrock_group_limit_seconds"
    ]  # fmt: skip
    assert [each.value for each in samples] == [0]


def test_a_batch_is_overdue_after_the_time_with_which_it_began(redis, read):
    BedrockBatches(redis).board("b1", "acme m", ABOUT, most=1, hold_s=60)
    assert (read("batches", state="writing"), read("batches_overdue")) == (1, 0)
    redis.hincrby("fb:bedrock:batch:b1", "at", -61_000)
    assert read("batches_overdue") == 1
    assert read("batches_oldest_seconds") > 60


def test_the_batches_of_the_last_hour_are_counted_by_how_they_ended(redis, read):
    outcomes = ANSWERED, "access_denied", INTERRUPTED, TOO_FEW, LOST
    for number, outcome in enumerate(outcomes):
        end(redis, f"b{number}", outcome=outcome)
    end(redis, "b9", outcome=ANSWERED, unknown=2)
    counts = {name: read("batches_ended_hour", outcome=name) for name in batch_metrics.ENDS}
    assert counts == {"answered": 1, "failed": 1, "unknown": 2}
    redis.hset("fb:bedrock:batch:b1", "ended_at", int(time.time() * 1000) - 3_700_000)
    assert read("batches_ended_hour", outcome="failed") == 0


def test_a_model_of_which_a_batch_was_refused_is_named(redis, read):
    WaitingGroups(redis).rest("m", 60, "not allowed")
    WaitingGroups(redis).rest("n", -1, "it rested long enough")
    assert (read("batches_refused", model="m"), read("batches_refused", model="n")) == (1, None)
