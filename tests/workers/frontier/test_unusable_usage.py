"""A billed answer whose usage or fields are malformed: booked once, kept if it can be read."""

import json
import logging
from types import SimpleNamespace

import pytest

from forebay.routing.jobs import Summarize
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.bedrock.converse_request import bounds
from forebay.workers.prompts import prompts
from forebay.workers.runtime.outcomes import Answered, Failed
from mock_bedrock.faults import FAULTS
from mock_bedrock.spoiled import SPOILED

pytestmark = pytest.mark.slow

MODEL = "anthropic.claude-haiku-5-5"
SECRET = "orchid"
ASK = Summarize(text=f"The {SECRET} was sold at noon.", max_words=20)
#: Malformed fields that leave the usage as it is.
PRICED = {
    name for name in SPOILED if name.startswith(("stop_", "message_", "content_", "text_"))
} | {"surrogate", "output_field_missing"}  # fmt: skip
#: Malformed fields that leave no answer to keep.
UNREADABLE = {
    "stop_unknown", "output_field_missing", "message_text", "content_null", "content_text",
    "content_object", "text_null", "text_number",
}  # fmt: skip


def worst_case(job):
    prompt: Prompt = prompts.frontier(job, prompt_id="p")
    return Prices.load().worst_case(MODEL, *bounds(prompt, MODEL))


@pytest.mark.parametrize("fault", sorted(SPOILED))
def test_a_malformed_answer_is_paid_once_and_booked(lane, mock, redis, fault, caplog):
    mock.faults.plan([fault])
    with caplog.at_level(logging.ERROR):
        outcome = lane.work(request=ASK, lane="bedrock")
    assert isinstance(outcome, Failed if fault in UNREADABLE else Answered)
    settled, reserved = Budget(redis).spent()
    assert reserved == 0
    estimated = fault not in PRICED
    if estimated:
        assert settled == worst_case(lane.claim.job())
        assert "cannot be priced" in caplog.text
    else:
        assert 0 < settled < worst_case(lane.claim.job())
    reasons = outcome.answer.reasons if isinstance(outcome, Answered) else outcome.reasons
    assert ("cost_estimated" in reasons) is estimated
    assert SECRET not in caplog.text
    again = lane.again()
    assert type(again) is type(outcome)
    assert len(mock.calls) == 1
    assert Budget(redis).spent() == (settled, 0)


DEEP = b"[" * 10**5 + b"]" * 10**5
#: Changes to the bytes of a body: JSON that Python's reader refuses, though it is whole and billed.
UNREADABLE_BYTES = {
    "a number of thousands of digits": (b'"outputTokens": ', b'"outputTokens": ' + b"9" * 5_000),
    "a latency of thousands of digits": (b'"latencyMs": ', b'"latencyMs": ' + b"9" * 5_000),
    "bytes that are no text": (b'"text": "', b'"text": "\xff\xfe'),
    "an object nested too deep": (b'"latencyMs": ', b'"x": %b, "y": ' % DEEP),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), UNREADABLE_BYTES.values(), ids=UNREADABLE_BYTES)
def test_an_answer_that_no_reader_of_json_takes_is_paid_once_and_booked(
    lane, mock, redis, monkeypatch, old, new
):
    def spoiled(body):
        data = json.dumps(body).encode().replace(old, new)
        return SimpleNamespace(encode=lambda: data)

    patched = SimpleNamespace(dumps=spoiled, loads=json.loads)
    monkeypatch.setattr("mock_bedrock.handler.json", patched)
    outcome = lane.work(request=ASK, lane="bedrock")
    assert isinstance(outcome, Answered | Failed)
    settled, reserved = Budget(redis).spent()
    assert 0 < settled <= worst_case(lane.claim.job())
    assert reserved == 0
    assert len(mock.calls) == 1


def test_the_receipt_of_an_estimated_answer_has_its_cost_and_why_bedrock_answered(lane, mock):
    mock.faults.plan(["usage_missing"])
    answer = lane.work().answer
    assert answer.cost_nusd == worst_case(lane.claim.job())
    assert (answer.tokens_in, answer.tokens_out, answer.degraded) == (0, 0, False)
    assert answer.reasons == ("cost_estimated", "verdict_hard")


def test_an_unusable_refusal_is_booked_at_its_worst_case(lane, mock, monkeypatch):
    body = {"stopReason": "refusal", "usage": {"inputTokens": "many"}, "output": {}}
    monkeypatch.setattr("mock_bedrock.protocol.Response.converse", lambda self, latency_ms: body)
    outcome = lane.work(request=ASK, lane="bedrock")
    assert isinstance(outcome, Failed)
    assert outcome.reasons == ("cost_estimated", "bedrock_failed")
    assert lane.budget.spent() == (worst_case(lane.claim.job()), 0)


def test_an_answer_that_cannot_be_stored_is_booked_and_not_paid_again(lane, mock, monkeypatch):
    def unstorable(*_args, **_options):
        raise ValueError("surrogates not allowed")

    monkeypatch.setattr("forebay.routing.jobs.Answer.model_dump_json", unstorable)
    outcome = lane.work(request=ASK, lane="bedrock")
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "bad_answer"
    assert lane.budget.spent()[0] > 0
    assert isinstance(lane.again(), Failed)
    assert len(mock.calls) == 1


def test_the_mock_plays_every_malformed_answer_by_name():
    assert set(SPOILED) <= FAULTS
