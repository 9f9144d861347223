"""A schema that Bedrock refuses is asked for in words, and a wrong answer gets one second try."""

from __future__ import annotations

import json

import pytest
import redis as redis_py

from forebay.routing.jobs import Job
from forebay.routing.limits.budget import Budget
from replies import Replies

pytest_plugins = ["waterfall"]

TEXT = "Invoice 17. Total due: 12.50 EUR. Level high."
#: Structured output takes no nullable enum.
LEVEL = {
    "type": "object",
    "properties": {"level": {"type": ["string", "null"], "enum": ["low", "high", None]}},
    "required": ["level"],
}
#: The mock refuses this schema, and nobody knows that beforehand.
ODD = {
    "type": "object",
    "properties": {"level": {"type": "string", "default": {"type": "object"}}},
    "required": ["level"],
}
PLAIN = {
    "type": "object", "properties": {"level": {"type": "string"}}, "required": ["level"],
}  # fmt: skip
CHAT = [{"role": "user", "content": TEXT}]


@pytest.fixture
def asked(lanes, monkeypatch):
    def ask(schema, *texts, kind="extract", **options):
        """Work a job on Bedrock that gives these answers; return its result."""
        monkeypatch.setattr(lanes.mock, "references", Replies(*texts))
        request = {"kind": "extract", "text": TEXT, "schema": schema}
        if kind == "generate":
            request = {"kind": "generate", "messages": CHAT, "schema": schema}
        job = Job(request=request, **{"egress": "allow", "lane": "bedrock", **options})
        lanes.ledger.create([job])
        lanes.work("route", "bedrock")
        [result] = lanes.ledger.results([job.id])
        return result

    return ask


def bodies(lanes):
    return [json.loads(call.text) for call in lanes.mock.calls]


@pytest.mark.parametrize("kind", ["extract", "generate"])
def test_a_schema_known_to_be_refused_is_asked_for_in_words(asked, lanes, kind):
    answer = asked(LEVEL, '{"level": "high"}', kind=kind)
    assert answer.status == "done"
    [body] = bodies(lanes)
    assert "outputConfig" not in body
    assert json.dumps(LEVEL) in json.dumps(body).replace('\\"', '"')


def test_a_schema_that_bedrock_refuses_by_itself_is_asked_for_in_words_then(asked, lanes):
    answer = asked(ODD, '{"level": "high"}')
    assert answer.content.data == {"level": "high"}
    assert ["outputConfig" in body for body in bodies(lanes)] == [True, False]
    assert answer.cost_nusd == Budget(lanes.redis).spent()[0]


@pytest.mark.parametrize("wrong", ['{"level": "middle"}', "The level is high.", "[]", "{}"])
def test_an_answer_that_does_not_validate_gets_one_second_try(asked, lanes, wrong):
    answer = asked(LEVEL, wrong, '{"level": "high"}')
    assert answer.content.data == {"level": "high"}
    first, second = bodies(lanes)
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == [{"text": wrong}]
    assert "not valid" in second["messages"][2]["content"][0]["text"]
    assert answer.cost_nusd == Budget(lanes.redis).spent()[0]
    assert answer.attempts == 1
    assert answer.tokens_out > asked(LEVEL, '{"level": "high"}').tokens_out


def test_there_is_no_third_try(asked, lanes):
    receipt = asked(LEVEL, "no", "never")
    assert (receipt.status, receipt.error) == ("failed", "bad_answer")
    assert receipt.error_note == "the answer is not JSON"
    assert len(lanes.mock.calls) == 2
    assert receipt.cost_nusd == Budget(lanes.redis).spent()[0] > 0


def test_the_failure_names_the_keyword(asked):
    receipt = asked(LEVEL, '{"level": "middle"}', '{"level": 1}')
    assert "schema (" in receipt.error_note


def test_an_enforced_schema_has_no_second_try(asked, lanes):
    assert asked(PLAIN, "no").status == "failed"
    assert len(lanes.mock.calls) == 1


def test_without_money_for_it_there_is_no_second_try(asked, lanes):
    probe = asked(LEVEL, '{"level": "high"}')
    worst = int(max(redis_reserved(lanes.redis)))
    lanes.mock.calls.clear()
    lanes.rules('[tenants.default]\ncount_tokens = "never"\n')
    receipt = asked(LEVEL, "no", '{"level": "high"}', max_cost_usd=(worst + 1) / 1e9)
    assert probe.status == "done"
    assert (receipt.status, len(lanes.mock.calls)) == ("failed", 1)
    assert receipt.error == "bad_answer"


def redis_reserved(client: redis_py.Redis):
    """Return what was reserved for each call, in billionths of a dollar."""
    calls = client.scan_iter("fb:spend:call:*")
    return [int(client.hget(key, "reserved")) for key in calls]
