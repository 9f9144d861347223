"""Each outcome of a job gives one line that can be formatted, without content."""

from __future__ import annotations

import pytest

from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Answer, Job, Summarize, Summary, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.runtime.outcomes import Answered, Escalated, Failed, Recorded, Retry, Routed
from forebay.workers.telemetry.celery_events import receipt_text
from forebay.workers.telemetry.job_log import JobLog
from ledger_jobs import BELL
from working import work_next

CANARY = "canary-4711"
SURE = Verdict(probability=0.7, version="t")


def answered(claim):
    made = {"status": "done", "lane": claim.record.hop, "model": "tiny", "tokens_in": 9}
    return Answered(Answer(**claim.record.heading() | made, content=Summary(text=CANARY)))


OUTCOMES = {
    "to local.default: easy": Routed("local.default", "allow", "easy", SURE),
    "to bedrock: low_score": Escalated("low_score", None),
    "throttled, again in 60.0 s": Retry("throttled", note="Slow down.", delay_s=60),
    "engine_died, again in 0.0 s": Retry("engine_died", note="exit code 70"),
    "bad_answer: no label fits": Failed(BadAnswer("no label fits")),
    "done": answered,
}


@pytest.mark.parametrize("by_mock", [True, False])
def test_what_the_mock_answered_is_marked_in_the_log_and_in_flower(redis, caplog, by_mock):
    caplog.set_level("INFO")
    ledger = Ledger(redis, Settings(), BELL)
    ledger.create([Job(tenant="acme", egress="allow", request=Summarize(text=CANARY))])
    made = {"status": "done", "lane": "bedrock", "model": "tiny", "cost_nusd": 1_000}
    claim = ledger.claim("route")
    heading = claim.record.heading()
    answer = Answer(**heading | made, content=Summary(text=CANARY), stand_in=by_mock)
    JobLog().finished(claim, Recorded(claim.id, Answered(answer), "done", answer.receipt))
    (line,) = [r for r in caplog.records if r.name.endswith("job_log")]
    assert getattr(line, "fields", {}).get("stand_in", False) is by_mock
    assert ("stand_in" in receipt_text(answer.receipt)) is by_mock


@pytest.mark.parametrize(("said", "outcome"), OUTCOMES.items(), ids=list(OUTCOMES))
def test_each_outcome_has_a_line(redis, caplog, said, outcome):
    caplog.set_level("INFO")
    ledger = Ledger(redis, Settings(), BELL)
    ledger.create([Job(tenant="acme", egress="allow", request=Summarize(text=CANARY))])
    queue = "route"
    if not isinstance(outcome, Routed):
        queue = "local.default"
        ledger.route(ledger.claim("route"), queue, "allow", "r", SURE)
    made = outcome if callable(outcome) else lambda _claim: outcome
    work_next(ledger, queue, made, JobLog())
    lines = [r.getMessage() for r in caplog.records if r.name.endswith("job_log")]
    assert lines == [said]
    assert CANARY not in caplog.text
