"""The page of a job: its explanation as a timeline, in every state."""

from __future__ import annotations

import pytest

from forebay.producers.explain import explanation
from forebay.producers.gateway.status.views.job_page import JobPage
from forebay.routing.jobs import Check, Doubt
from ledger_jobs import SURE, answer, failure, job, put


def page(ledger, job_id) -> JobPage:
    record = ledger.record(job_id)
    return JobPage.of(record, explanation(record, None), record.created + 5_000)


def titles(shown) -> list[str]:
    return [step.title for step in shown.steps]


def test_a_job_that_waits_says_where(ledger):
    (job_id,) = put(ledger, job())
    shown = page(ledger, job_id)
    assert titles(shown) == ["Submitted", "Waits in route"]
    assert (shown.tenant, shown.ended, shown.tone, shown.total_s) == ("acme", False, "plain", 5.0)
    assert shown.steps[1].words == "not tried yet"


def test_a_job_that_is_tried_again_says_after_what(ledger):
    (job_id,) = put(ledger, job())
    ledger.retry(ledger.claim("route"), "throttled", delay_s=60)
    last = page(ledger, job_id).steps[-1]
    assert (last.title, last.words, last.details) == (
        "Waits in route", "attempt 1", ("after throttled: the service asks us to slow down",)
    )  # fmt: skip


def test_an_answered_job_tells_its_way(ledger):
    (job_id,) = put(ledger, job(egress="allow"))
    ledger.route(ledger.claim("route"), "local.default", "allow", "verdict_easy", SURE)
    claim = ledger.claim("local.default")
    checks = (Check(name="numbers", passed=True), Check(name="length", passed=False, note="long"))
    made = answer(
        claim, model="small", revision="r1", checks=checks, degraded=True,
        reasons=("verdict_easy", "check_failed:length"), verdict=SURE,
        doubt=Doubt(probability=0.2, version="d1", agreement=0.5, second="other"),
    )  # fmt: skip
    ledger.settle(claim, made)
    shown = page(ledger, job_id)
    assert titles(shown) == [
        "Submitted", "Router's verdict", "The local answer will probably do",
        "The answer failed the named check", "Doubt", "Checks of the answer",
        "Answered locally (degraded)",
    ]  # fmt: skip
    assert shown.steps[3].code == "check_failed (length)"
    assert shown.steps[5].details == ("length: long", "passed: numbers")
    assert shown.steps[6].details == ("small r1",)
    assert (shown.ended, shown.tone) == (True, "warn")


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_job_without_an_answer_says_why(ledger, end):
    (job_id,) = put(ledger, job())
    claim = ledger.claim("route")
    if end == "failed":
        ledger.settle(claim, failure(claim, "too_long"))
    else:
        ledger.cancel(job_id)
    shown = page(ledger, job_id)
    assert titles(shown)[-1] == end.capitalize()
    assert shown.steps[-1].code == ("too_long" if end == "failed" else "cancelled")
    assert shown.tone == {"failed": "bad", "cancelled": "warn"}[end]
