"""The bedrock lane, job by job: real boto3 over HTTP to the mock, a real ledger and budget."""

from __future__ import annotations

import json

import pytest

from forebay.routing.jobs import (
    Answer,
    Classify,
    Generate,
    Message,
    Summarize,
    Summary,
)
from forebay.routing.limits.spillway import Spillway
from forebay.workers.bedrock import Bedrock
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Answered, Failed, Retry, Routed

HAIKU, SONNET = "anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-5-5"


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


def test_no_other_model_answers_in_place_of_the_one_that_the_job_names(lane, mock):
    rules = f'[defaults]\nmodels = ["{HAIKU}", "{SONNET}"]\n'
    pinned = {"lane": "bedrock", "model": SONNET}
    assert lane.work(rules, **pinned).answer.model == SONNET
    mock.faults.plan(["throttle"])
    assert isinstance(lane.work(rules, **pinned), Retry)
    assert {call.model for call in mock.calls} == {SONNET}


def test_a_model_without_a_price_is_never_called(lane, mock):
    outcome = lane.work('[defaults]\nmodels = ["nobody.knows-1"]\n', draft=weak_answer, **SHORT)
    assert outcome.answer.reason == "no_price:nobody.knows-1"
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


def test_all_calls_of_a_job_together_keep_to_its_cap(lane, mock):
    rules = f'[defaults]\nmodels = ["{HAIKU}", "{SONNET}"]\ncount_tokens = "never"\n'
    mock.faults.plan(["refuse"])
    lane.work(rules, lane="bedrock")
    refused, answered = (lane.budget.find(call.call_id) for call in mock.calls)
    assert refused.settled_nusd > 0
    mock.faults.plan(["refuse"])
    cap = max(refused.reserved_nusd, answered.reserved_nusd) + refused.settled_nusd // 2
    outcome = lane.work(rules, lane="bedrock", max_cost_usd=cap / 1e9)
    assert isinstance(outcome, Failed)
    assert outcome.error.field == "max_cost_usd"
    assert len(mock.calls) == 3


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


PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"


def test_an_opaque_profile_is_called_with_the_price_and_the_parameters_of_its_model(lane, mock):
    rules = f'[defaults]\nmodels = ["{PROFILE}"]\n[profiles]\n"{PROFILE}" = "{HAIKU}"\n'
    answer = lane.work(rules).answer
    by_profile, cost = json.loads(mock.calls[-1].text), answer.cost_nusd
    assert (answer.model, mock.calls[-1].model) == (PROFILE, PROFILE)
    answer = lane.work().answer
    by_model = json.loads(mock.calls[-1].text)
    assert by_profile["inferenceConfig"] == by_model["inferenceConfig"]
    assert cost == answer.cost_nusd > 0


def test_a_model_without_a_price_is_named_by_the_job_that_fails(lane, mock):
    outcome = lane.work('[defaults]\nmodels = ["gpt-9"]\n', lane="bedrock")
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.reasons) == ("no_price", ("no_price:gpt-9",))
    assert len(mock.calls) == 0


def test_a_job_that_comes_down_for_want_of_a_price_stays_down(lane):
    outcome = lane.work('[defaults]\nmodels = ["gpt-9"]\n')
    assert (outcome.queue, outcome.reason) == ("local.default", "verdict_hard,no_price:gpt-9")
    lane.ledger.route(lane.claim, outcome.queue, outcome.egress, outcome.reason, outcome.verdict)
    assert Attempt.of(lane.ledger.claim("local.default")).degraded


def test_the_model_with_a_price_answers_in_place_of_the_one_without(lane):
    assert lane.work(f'[defaults]\nmodels = ["gpt-9", "{HAIKU}"]\n').answer.model == HAIKU


def test_a_throttled_model_is_the_reason_and_not_the_one_without_a_price(lane, mock):
    mock.faults.plan(["throttle"])
    outcome = lane.work(f'[defaults]\nmodels = ["{HAIKU}", "gpt-9"]\n')
    assert isinstance(outcome, Retry)


def test_a_worker_complains_at_its_start_and_after_a_change_of_models_without_a_price(lane, caplog):
    worker = lane.worker()
    assert "no price" not in caplog.text
    lane.work(f'[defaults]\nmodels = ["gpt-9", "{HAIKU}"]\n', worker=worker)
    lane.work(f'[defaults]\nmodels = ["gpt-9", "{HAIKU}"]\n', worker=worker)
    lane.worker()
    for record in (records := [r for r in caplog.records if "no price" in r.getMessage()]):
        assert "gpt-9" in record.getMessage()
    assert len(records) >= 2


def test_no_model_that_the_prefixes_allow_is_the_reason_in_words(lane, mock):
    outcome = lane.work('[fleet]\nmodel_prefixes = ["eu."]\n', lane="bedrock")
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "no_model_allowed"
    assert outcome.reasons == ("no_model_allowed",)
    assert len(mock.calls) == 0


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
