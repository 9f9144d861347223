"""The bedrock lane, job by job: real boto3 over HTTP to the stand-in, a real ledger, real books."""

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
from forebay.workers.runtime.execute import Answered, Failed, Retry, Routed
from mock_bedrock.server import MockBedrock

BELL = '{"id": "@RING@", "queue": "@QUEUE@", "task": "@TASK@"}'
HAIKU, SONNET = "anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-5-5"
ASK = Generate(messages=[Message(role="user", content="hello")])


@pytest.fixture
def standin(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stand-in")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stand-in")
    with MockBedrock() as standin:
        yield standin


@pytest.fixture
def world(redis, standin, tmp_path):
    """A ledger and a bedrock worker whose policy the test can write."""
    policy = tmp_path / "policy.toml"

    class World:
        def __init__(self):
            self.ledger = Ledger(redis, Settings(policy_file=policy), BELL)
            self.spend = Budget(redis)

        def work(self, rules="", *, draft=None, reasons=("verdict_hard",), **options):
            """What the worker makes of one job, which comes by the lanes that it would take."""
            policy.write_text(rules or "[fleet]\n")
            one = Job(egress="allow", **{"request": ASK, **options})
            self.ledger.create([one])
            verdict = Verdict(probability=0.5, version="test")
            route = self.ledger.claim("route")
            if draft is None:
                self.ledger.route(route, "bedrock", "allow", ",".join(reasons), verdict)
            else:
                self.ledger.route(route, "local.default", "allow", "verdict_easy", verdict)
                claim = self.ledger.claim("local.default")
                self.ledger.escalate(claim, "check_failed:length", draft(one.id))
            self.claim = self.ledger.claim("bedrock")
            settings = BedrockSettings(bedrock_endpoint=standin.url, bedrock_timeout_s=1)
            return Bedrock(self.ledger, settings).work(self.claim)

    return World()


def weak(job_id):
    content = Summary(text="a weak one")
    kind = {"id": job_id, "kind": "summarize", "egress": "allow", "status": "done"}
    return Answer(**kind, lane="local", degraded=True, content=content)


SHORT = {"request": Summarize(text="We met at noon.", max_words=20)}


def test_an_answer_names_its_model_its_version_and_its_cost(world):
    outcome = world.work()
    answer = outcome.answer
    assert (answer.lane, answer.model, answer.stand_in) == ("bedrock", HAIKU, True)
    assert answer.revision
    assert world.spend.spent() == (answer.cost_nusd, 0)
    assert answer.cost_nusd > 0


def test_a_throttled_call_costs_nothing_and_shuts_the_spillway_for_as_long_as_was_asked(
    world, standin, redis
):
    standin.faults.plan(["throttle:7"])
    outcome = world.work()
    assert isinstance(outcome, Retry)
    assert not outcome.counted
    assert outcome.delay_s == pytest.approx(7, abs=0.5)
    assert Spillway(redis).shut_for_s() == pytest.approx(7, abs=0.5)
    assert world.spend.spent() == (0, 0)


def test_while_the_spillway_is_shut_no_call_is_made(world, standin, redis):
    Spillway(redis).shut("throttled", 30)
    outcome = world.work()
    assert isinstance(outcome, Retry)
    assert outcome.delay_s > 20
    assert len(standin.calls) == 0


def test_a_degrading_tenant_gets_the_local_draft_when_bedrock_is_throttled(world, standin):
    standin.faults.plan(["throttle"])
    rules = '[defaults]\nwhen_shut = "degrade"\n'
    outcome = world.work(rules, draft=weak, **SHORT)
    assert outcome.answer.content == Summary(text="a weak one")
    assert outcome.answer.degraded
    assert outcome.answer.reason == "spillway_shut"


def test_a_job_without_a_draft_goes_down_to_be_answered_here(world, standin):
    standin.faults.plan(["throttle"])
    outcome = world.work('[defaults]\nwhen_shut = "degrade"\n')
    assert isinstance(outcome, Routed)
    assert (outcome.queue, outcome.reason) == ("local.default", "verdict_hard,spillway_shut")


@pytest.mark.parametrize("options", [{"lane": "bedrock"}, {"reasons": ("no_answer",)}])
def test_a_job_that_nobody_else_can_answer_waits_for_what_passes(world, standin, options):
    standin.faults.plan(["throttle"])
    outcome = world.work('[defaults]\nwhen_shut = "degrade"\n', **options)
    assert isinstance(outcome, Retry)


def test_the_second_model_answers_where_the_first_is_throttled(world, standin):
    standin.faults.plan(["throttle"])
    rules = f'[defaults]\nmodels = ["{HAIKU}", "{SONNET}"]\n'
    outcome = world.work(rules)
    assert outcome.answer.model == SONNET
    assert [call.model for call in standin.calls] == [HAIKU, SONNET]


def test_a_model_without_a_price_is_never_called(world, standin):
    outcome = world.work('[defaults]\nmodels = ["nobody.knows-1"]\n', draft=weak, **SHORT)
    assert outcome.answer.reason == "bedrock_failed"
    assert outcome.answer.content == Summary(text="a weak one")
    assert len(standin.calls) == 0


def test_a_budget_that_is_spent_makes_no_call(world, standin):
    outcome = world.work("[defaults]\ndaily_budget_usd = 0.0\n", draft=weak, **SHORT)
    assert outcome.answer.reason == "budget_spent"
    assert len(standin.calls) == 0
    assert world.spend.spent() == (0, 0)


def test_a_call_that_might_cost_more_than_the_job_allows_is_not_made(world, standin):
    outcome = world.work(max_cost_usd=0.000001, lane="bedrock")
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.field) == ("budget_exceeded", "max_cost_usd")
    assert len(standin.calls) == 0


def test_a_tenant_that_is_kept_in_the_house_since_it_was_routed_makes_no_call(world, standin):
    outcome = world.work("[defaults]\nforce_deny = true\n", lane="bedrock")
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "egress_denied"
    assert len(standin.calls) == 0


def test_a_call_of_unknown_outcome_keeps_its_money_and_is_not_made_again_meanwhile(world, standin):
    standin.faults.plan(["half"])
    outcome = world.work()
    assert isinstance(outcome, Retry)
    assert outcome.counted
    settled, reserved = world.spend.spent()
    assert (settled, reserved > 0) == (0, True)
    world.ledger.retry(world.claim, "unavailable")
    settings = BedrockSettings(bedrock_endpoint=standin.url)
    again = Bedrock(world.ledger, settings).work(world.ledger.claim("bedrock"))
    assert isinstance(again, Retry)
    assert not again.counted
    assert len(standin.calls) == 1


def test_a_paid_answer_of_no_use_is_on_the_receipt_of_what_is_given_instead(world):
    labels = ["red", "blue"]  # the stand-in does not know the text, and answers with neither
    outcome = world.work(lane="bedrock", request=Classify(text="the sky", labels=labels))
    assert isinstance(outcome, Failed)
    paid, _ = world.spend.spent()
    assert paid > 0
    world.ledger.retry(world.claim, "bad_answer", counted=False)
    world.ledger.cancel(world.claim.id)
    (receipt,) = world.ledger.results([world.claim.id])
    assert receipt.cost_nusd == paid


def test_a_cached_answer_costs_nothing_and_says_why_this_job_got_it(world):
    first = world.work(cache=True)
    world.ledger.settle(world.claim, first.answer)
    first.then()
    second = world.work(cache=True, reasons=("pinned_bedrock",))
    assert isinstance(second, Answered)
    # The stand-in's answers are nobody's to give again.
    assert not second.answer.cached
