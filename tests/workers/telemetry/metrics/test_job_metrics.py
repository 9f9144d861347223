"""Metrics count what happened to jobs, under a bounded number of labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from forebay.routing.errors import BadAnswer, EgressDenied
from forebay.routing.jobs import Answer, Check, Doubt, Job, Summarize, Summary, Verdict
from forebay.workers.runtime.outcomes import Answered, Escalated, Failed, Retry, Routed
from forebay.workers.telemetry.metrics.job_metrics import JobMetrics
from forebay.workers.telemetry.metrics.labels import (
    OTHER,
    Capped,
    code_label,
    largest,
    reason_label,
)
from working import work_next


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def worked(ledger, registry):
    """Create a job and have it worked through queues with these outcomes, observed by metrics."""
    metrics = JobMetrics(registry, tenants=2)

    def work(*outcomes, tenant="acme"):
        job = Job(tenant=tenant, egress="allow", request=Summarize(text="t"))
        ledger.create([job])
        queue = "route"
        for outcome in outcomes:
            made = lambda claim, outcome=outcome: outcome(claim) if callable(outcome) else outcome  # noqa: E731
            work_next(ledger, queue, made, metrics)
            queue = ledger.record(job.id).queue
        return job.id

    return work


TO_LOCAL = Routed("local.default", "allow", "verdict_easy", Verdict(probability=0.7, version="t"))


def answer(claim, **fields) -> Answer:
    made = {"status": "done", "lane": claim.record.hop, "model": "tiny", "tokens_in": 9, **fields}
    return Answer(**claim.record.heading() | made, content=Summary(text="short"))


def sample(registry, name, **labels) -> float | None:
    return registry.get_sample_value(f"forebay_{name}", labels)


def test_what_the_mock_bills_is_no_cost(worked, registry):
    mocked = {"cost_nusd": 2_000_000_000, "stand_in": True}
    worked(TO_LOCAL, lambda claim: Answered(answer(claim, **mocked)))
    assert sample(registry, "cost_usd_total", model="tiny") == 0
    assert sample(registry, "tenant_cost_usd_total", tenant="acme") == 0


def test_a_job_is_counted_at_each_step_and_measured_at_its_end(worked, registry):
    checks = (Check(name="second_opinion", passed=False), Check(name="numbers", passed=False))
    doubt = Doubt(probability=0.8, version="t")
    up = lambda claim: Escalated("doubtful,x", answer(claim, checks=checks, doubt=doubt))  # noqa: E731
    paid = {"cost_nusd": 2_000_000_000, "tokens_cached": 4}
    done = lambda claim: Answered(answer(claim, doubt=doubt, **paid))  # noqa: E731
    worked(TO_LOCAL, up, done)
    where = {"kind": "summarize", "lane": "bedrock"}
    tokens = {"lane": "bedrock", "model": "tiny"}
    assert sample(registry, "tokens_total", **tokens, direction="in") == 9
    assert sample(registry, "tokens_total", **tokens, direction="cached") == 4
    local = {"kind": "summarize", "lane": "local"}
    assert sample(registry, "decisions_total", **local, reason="verdict_easy") == 1
    assert sample(registry, "verdict_probability_count", kind="summarize") == 1
    assert sample(registry, "escalations_total", kind="summarize", reason="doubtful") == 1
    assert sample(registry, "second_opinions_total", kind="summarize", agreed="false") == 1
    assert sample(registry, "checks_failed_total", **local, check="numbers") == 1
    assert sample(registry, "doubt_probability_count", kind="summarize") == 1
    assert sample(registry, "jobs_ended_total", **where, state="done", code="") == 1
    assert sample(registry, "tokens_total", lane="bedrock", model="tiny", direction="in") == 9
    assert sample(registry, "cost_usd_total", model="tiny") == 2
    assert sample(registry, "tenant_cost_usd_total", tenant="acme") == 2
    for name in ("job_wait_seconds", "job_duration_seconds"):
        assert sample(registry, f"{name}_count", **where) == 1
    for lane, outcome in (("route", "routed"), ("local", "escalated"), ("bedrock", "answered")):
        labels = {"kind": "summarize", "lane": lane, "outcome": outcome}
        assert sample(registry, "attempts_total", **labels) == 1
    assert sample(registry, "jobs_in_flight") == 0


def test_a_retry_and_a_dead_job_are_counted_by_code(worked, registry):
    worked(TO_LOCAL, Retry("throttled", delay_s=60))
    worked(TO_LOCAL, Failed(BadAnswer("no")))
    where = {"kind": "summarize", "lane": "local"}
    assert sample(registry, "retries_total", **where, code="throttled") == 1
    assert sample(registry, "jobs_ended_total", **where, state="failed", code="bad_answer") == 1
    assert sample(registry, "tenant_jobs_ended_total", tenant="acme", state="failed") == 1


def test_more_tenants_than_the_limit_share_one_label(worked, registry):
    for tenant in ("a", "b", "c", "d", "a"):
        worked(TO_LOCAL, lambda claim: Answered(answer(claim)), tenant=tenant)
    counts = {
        one: sample(registry, "tenant_jobs_ended_total", tenant=one, state="done")
        for one in ("a", "b", "c", "d", OTHER)
    }
    assert counts == {"a": 2, "b": 1, "c": None, "d": None, OTHER: 2}


def test_a_code_or_reason_that_nobody_defined_is_other():
    assert [code_label(code) for code in ("bad_answer", "internal", "x" * 50, "", None)] == [
        "bad_answer", "internal", OTHER, "", "",
    ]  # fmt: skip
    assert [reason_label(one) for one in ("check_failed:numbers,unsure", "forged", "")] == [
        "check_failed", OTHER, "",
    ]  # fmt: skip


def test_values_are_capped_in_the_order_in_which_they_come():
    capped = Capped(2)
    assert [capped(value) for value in "abcab"] == ["a", "b", OTHER, "a", "b"]
    assert largest({"a": 1.0, "b": 5.0, "c": 2.0}, 1) == {"b": 5.0, OTHER: 3.0}
    assert largest({"a": 1.0}, 1) == {"a": 1.0}


def answered(claim):
    return Answered(answer(claim))


def refused_at_bedrock(claim):
    reasons = (*claim.record.reasons, "egress_denied")
    return Answered(answer(claim, reasons=reasons, degraded=True))


@pytest.mark.parametrize(
    ("outcomes", "lane"),
    [
        ([Failed(EgressDenied("may not leave", field="egress"))], "route"),
        ([TO_LOCAL, Retry("egress_denied")], "local"),
        ([replace(TO_LOCAL, queue="bedrock"), refused_at_bedrock], "bedrock"),
        ([replace(TO_LOCAL, reason="egress_denied"), answered], None),
        ([TO_LOCAL, Failed(BadAnswer("no"), ("no_answer", "egress_denied"))], None),
    ],
)
def test_a_refusal_because_of_egress_is_counted_and_staying_local_is_none(
    worked, registry, outcomes, lane
):
    worked(*outcomes)
    counts = {
        each: sample(registry, "egress_refusals_total", lane=each)
        for each in ("route", "local", "bedrock")
    }
    assert counts == {each: float(each == lane) for each in counts}
