"""The bedrock lane, job by job: real boto3 over HTTP to the mock, a real ledger and budget."""

from __future__ import annotations

import pytest

from forebay.routing.jobs import (
    Answer,
    Classify,
    Generate,
    Job,
    Message,
    Summarize,
    Summary,
    Verdict,
)
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.spillway import Spillway
from forebay.routing.settings import Settings
from forebay.workers.bedrock import Bedrock
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.outcomes import Answered, Failed, Retry, Routed
from mock_bedrock.server import MockBedrock

BELL = '{"id": "@RING@", "queue": "@QUEUE@", "task": "@TASK@"}'
HAIKU, SONNET = "anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-5-5"
ASK = Generate(messages=[Message(role="user", content="hello")])


@pytest.fixture
def mock(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mock")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mock")
    with MockBedrock() as mock:
        yield mock


@pytest.fixture
def lane(redis, mock, tmp_path):
    """A ledger and a bedrock worker whose policy the test can write."""
    policy = tmp_path / "policy.toml"

    class Lane:
        def __init__(self):
            self.ledger = Ledger(redis, Settings(policy_file=policy), BELL)
            self.budget = Budget(redis)

        def work(self, rules="", *, draft=None, reasons=("verdict_hard",), **options):
            """Work one job, which reaches the lane as a real job would; return its outcome."""
            policy.write_text(rules or "[fleet]\n")
            job = Job(egress="allow", **{"request": ASK, **options})
            self.ledger.create([job])
            verdict = Verdict(probability=0.5, version="test")
            claim = self.ledger.claim("route")
            if draft is None:
                self.ledger.route(claim, "bedrock", "allow", ",".join(reasons), verdict)
            else:
                self.ledger.route(claim, "local.default", "allow", "verdict_easy", verdict)
                claim = self.ledger.claim("local.default")
                self.ledger.escalate(claim, "check_failed:length", draft(job.id))
            self.claim = self.ledger.claim("bedrock")
            settings = BedrockSettings(bedrock_endpoint=mock.url, bedrock_timeout_s=1)
            return Bedrock(self.ledger, settings).work(self.claim)

    return Lane()


def weak_answer(job_id):
    content = Summary(text="a weak answer")
    heading = {"id": job_id, "kind": "summarize", "egress": "allow", "status": "done"}
    return Answer(**heading, lane="local", degraded=True, content=content)


SHORT = {"request": Summarize(text="We met at noon.", max_words=20)}


def test_an_answer_names_its_model_its_version_and_its_cost(lane):
    outcome = lane.work()
    answer = outcome.answer
    assert (answer.lane, answer.model, answer.stand_in) == ("bedrock", HAIKU, True)
    assert answer.revision
    assert lane.budget.spent() == (answer.cost_nusd, 0)
    assert answer.cost_nusd > 0


def test_a_throttled_call_costs_nothing_and_shuts_the_spillway_for_as_long_as_bedrock_asks(
    lane, mock, redis
):
    mock.faults.plan(["throttle:7"])
    outcome = lane.work()
    assert isinstance(outcome, Retry)
    assert not outcome.counted
    assert outcome.delay_s == pytest.approx(7, abs=0.5)
    assert Spillway(redis).shut_for_s() == pytest.approx(7, abs=0.5)
    assert lane.budget.spent() == (0, 0)


def test_while_the_spillway_is_shut_no_call_is_made(lane, mock, redis):
    Spillway(redis).shut("throttled", 30)
    outcome = lane.work()
    assert isinstance(outcome, Retry)
    assert outcome.delay_s > 20
    assert len(mock.calls) == 0


def test_a_degrading_tenant_gets_the_local_draft_when_bedrock_is_throttled(lane, mock):
    mock.faults.plan(["throttle"])
    rules = '[defaults]\nwhen_shut = "degrade"\n'
    outcome = lane.work(rules, draft=weak_answer, **SHORT)
    assert outcome.answer.content == Summary(text="a weak answer")
    assert outcome.answer.degraded
    assert outcome.answer.reason == "spillway_shut"


def test_a_job_without_a_draft_goes_down_to_be_answered_locally(lane, mock):
    mock.faults.plan(["throttle"])
    outcome = lane.work('[defaults]\nwhen_shut = "degrade"\n')
    assert isinstance(outcome, Routed)
    assert (outcome.queue, outcome.reason) == ("local.default", "verdict_hard,spillway_shut")


@pytest.mark.parametrize("options", [{"lane": "bedrock"}, {"reasons": ("no_answer",)}])
def test_a_job_that_only_bedrock_can_answer_waits_for_an_error_that_passes(lane, mock, options):
    mock.faults.plan(["throttle"])
    outcome = lane.work('[defaults]\nwhen_shut = "degrade"\n', **options)
    assert isinstance(outcome, Retry)


def test_the_second_model_answers_if_the_first_is_throttled(lane, mock):
    mock.faults.plan(["throttle"])
    rules = f'[defaults]\nmodels = ["{HAIKU}", "{SONNET}"]\n'
    outcome = lane.work(rules)
    assert outcome.answer.model == SONNET
    assert [call.model for call in mock.calls] == [HAIKU, SONNET]


def test_a_model_without_a_price_is_never_called(lane, mock):
    outcome = lane.work('[defaults]\nmodels = ["nobody.knows-1"]\n', draft=weak_answer, **SHORT)
    assert outcome.answer.reason == "bedrock_failed"
    assert outcome.answer.content == Summary(text="a weak answer")
    assert len(mock.calls) == 0


def test_a_budget_that_is_spent_makes_no_call(lane, mock):
    outcome = lane.work("[defaults]\ndaily_budget_usd = 0.0\n", draft=weak_answer, **SHORT)
    assert outcome.answer.reason == "budget_spent"
    assert len(mock.calls) == 0
    assert lane.budget.spent() == (0, 0)


def test_a_call_that_might_cost_more_than_the_job_allows_is_not_made(lane, mock):
    outcome = lane.work(max_cost_usd=0.000001, lane="bedrock")
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.field) == ("budget_exceeded", "max_cost_usd")
    assert len(mock.calls) == 0


def test_no_call_is_made_if_the_policy_has_forbidden_egress_since_the_job_was_routed(lane, mock):
    outcome = lane.work("[defaults]\nforce_deny = true\n", lane="bedrock")
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "egress_denied"
    assert len(mock.calls) == 0


def test_a_call_of_unknown_outcome_keeps_its_money_and_is_not_made_again_meanwhile(lane, mock):
    mock.faults.plan(["half"])
    outcome = lane.work()
    assert isinstance(outcome, Retry)
    assert outcome.counted
    settled, reserved = lane.budget.spent()
    assert (settled, reserved > 0) == (0, True)
    lane.ledger.retry(lane.claim, "unavailable")
    settings = BedrockSettings(bedrock_endpoint=mock.url)
    again = Bedrock(lane.ledger, settings).work(lane.ledger.claim("bedrock"))
    assert isinstance(again, Retry)
    assert not again.counted
    assert len(mock.calls) == 1


def test_the_receipt_names_the_cost_of_a_paid_answer_that_was_of_no_use(lane):
    labels = ["red", "blue"]  # the mock does not know the text, and answers with neither
    outcome = lane.work(lane="bedrock", request=Classify(text="the sky", labels=labels))
    assert isinstance(outcome, Failed)
    paid, _ = lane.budget.spent()
    assert paid > 0
    lane.ledger.retry(lane.claim, "bad_answer", counted=False)
    lane.ledger.cancel(lane.claim.id)
    (receipt,) = lane.ledger.results([lane.claim.id])
    assert receipt.cost_nusd == paid


def test_an_answer_of_the_mock_is_not_cached(lane):
    first = lane.work(cache=True)
    lane.ledger.settle(lane.claim, first.answer)
    first.then()
    second = lane.work(cache=True, reasons=("pinned_bedrock",))
    assert isinstance(second, Answered)
    # The mock's answers are never given again.
    assert not second.answer.cached


SECRETS = {
    "message": {
        "request": Generate(messages=[Message(role="user", content="AKIAABCDEFGHIJKLMNOP")])
    },
    "text": {"request": Summarize(text="-----BEGIN RSA PRIVATE KEY----- and more")},
    "metadata": {"metadata": {"note": "sk-ant-abcdefghijklmnopqrstuvwx"}},
}


@pytest.mark.parametrize("place", SECRETS)
@pytest.mark.parametrize("pin", ["auto", "bedrock"])
def test_a_secret_that_came_past_the_router_does_not_leave(lane, mock, place, pin):
    outcome = lane.work(lane=pin, **SECRETS[place])
    assert not mock.calls
    if pin == "bedrock":
        assert isinstance(outcome, Failed)
        assert outcome.reasons == ("secret_found",)
    else:
        assert isinstance(outcome, Routed)
        assert (outcome.queue, outcome.egress) == ("local.default", "deny")
        assert outcome.reason.endswith("secret_found")


def test_a_tenant_whose_policy_asks_for_no_scans_is_not_scanned_here(lane, mock):
    outcome = lane.work("[defaults]\nscan_secrets = false\n", **SECRETS["text"])
    assert isinstance(outcome, Answered)
