"""The service counts a prompt's tokens if a budget asks for it: once, written down, for nothing."""

from __future__ import annotations

import json

import pytest

from forebay.routing.books.call_book import CallBook
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.books.verification import of_calls, of_chain
from forebay.routing.jobs import Classify, Extract, Summarize
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices
from forebay.routing.reasons import Reason
from forebay.workers.bedrock import Bedrock
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.outcomes import Answered
from mock_bedrock.prompt_cache import tokens

pytestmark = pytest.mark.slow

MODEL = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"
TEXT = "The water rose by an inch on every day. " * 200
ASK = Summarize(text=TEXT, max_words=20)
RULES = f'[defaults]\nmodels = ["{MODEL}"]\n'
#: What the call may cost by its bytes, and by its tokens; both a little more, for instructions.
BY_BYTES = Prices.packaged().worst_case(MODEL, len(TEXT) + 1_500, 200) / 1e9
BY_TOKENS = Prices.packaged().worst_case(MODEL, tokens(TEXT) + 500, 200) / 1e9


def patient(lane, mock):
    """Return a worker whose counts have time on a busy machine."""
    lane.ledger.settings.policy_file.write_text("[fleet]\n")
    settings = BedrockSettings(bedrock_endpoint=mock.url, bedrock_timeout_s=20)
    return Bedrock(lane.ledger, settings)


def operations(mock):
    return [call.operation for call in mock.calls]


def reserved(redis):
    """Return what was reserved for the calls in the book, in dollars."""
    return [call.reserved_nusd / 1e9 for call in CallBook(redis).calls()]


def test_a_budget_that_the_bytes_break_is_met_by_the_tokens(lane, mock, redis):
    rules = RULES + f"daily_budget_usd = {BY_TOKENS:.6f}\n"
    outcome = lane.work(rules, request=ASK, worker=patient(lane, mock))
    assert isinstance(outcome, Answered)
    assert operations(mock) == ["count-tokens", "converse"]
    [money] = reserved(redis)
    assert money <= BY_TOKENS < BY_BYTES
    assert outcome.answer.cost_nusd / 1e9 <= money, "never less than the true worst case"
    assert Budget(redis).spent() == (outcome.answer.cost_nusd, 0)


def test_a_cap_of_a_job_that_the_bytes_break_is_met_by_the_tokens(lane, mock):
    outcome = lane.work(RULES, request=ASK, worker=patient(lane, mock), max_cost_usd=BY_TOKENS)
    assert isinstance(outcome, Answered)
    assert operations(mock) == ["count-tokens", "converse"]


def test_a_budget_that_covers_the_bytes_needs_no_count(lane, mock):
    lane.work(RULES, request=ASK)
    assert operations(mock) == ["converse"]


def test_what_is_too_dear_by_its_tokens_too_is_not_counted(lane, mock):
    outcome = lane.work(RULES + "daily_budget_usd = 0.0001\n", request=ASK)
    assert Reason.BUDGET_SPENT in outcome.reason
    assert not mock.calls


@pytest.mark.parametrize(("policy", "counts"), [("always", 1), ("never", 0)])
def test_the_policy_of_the_tenant_decides(lane, mock, redis, policy, counts):
    lane.work(RULES + f'count_tokens = "{policy}"\n', request=ASK)
    assert operations(mock).count("count-tokens") == counts
    assert (reserved(redis)[0] < BY_TOKENS) == bool(counts)
    mock.calls.clear()
    lane.work(
        RULES + f'count_tokens = "{policy}"\ndaily_budget_usd = {2 * BY_TOKENS:.6f}\n',
        request=Summarize(text=f"{TEXT}!", max_words=20),
    )
    assert operations(mock) == ["count-tokens", "converse"][: 2 * counts]


def test_the_same_prompt_is_counted_once(lane, mock):
    worker = lane.worker()
    for _ in range(2):
        lane.work(RULES + 'count_tokens = "always"\n', request=ASK, worker=worker, cache=False)
    assert operations(mock) == ["count-tokens", "converse", "converse"]


def test_the_count_is_asked_of_the_model_itself_and_has_no_metadata(lane, mock):
    lane.work(RULES + 'count_tokens = "always"\n', request=ASK)
    count, call = mock.calls
    assert (count.model, call.model) == ("anthropic.claude-haiku-4-5-20251001-v1:0", MODEL)
    assert json.loads(count.text)["input"]["converse"].keys() <= {"messages", "system"}


def test_each_count_is_in_the_egress_log_and_all_books_agree(lane, redis):
    lane.work(RULES + 'count_tokens = "always"\n', request=ASK)
    entries, calls = list(EgressLog(redis).read()), CallBook(redis).calls()
    assert [entry.leaving.purpose for entry in entries] == ["count", "answer"]
    assert entries[0].leaving.content == entries[1].leaving.content
    assert [*of_chain(entries, {}), *of_calls(entries, calls)] == []


def test_without_an_entry_nothing_is_counted_and_nothing_leaves(lane, mock, redis):
    redis.set("fb:egress:log", "x")
    lane.work(RULES + 'count_tokens = "always"\n', request=ASK)
    assert not mock.calls


@pytest.mark.parametrize("fault", ["throttle", "drop", "hang:3", "internal", "half"])
def test_a_count_that_fails_falls_back_to_the_bytes_and_rests(lane, mock, redis, caplog, fault):
    worker = lane.worker()
    mock.faults.plan([fault])
    rules = RULES + 'count_tokens = "always"\n'
    assert isinstance(lane.work(rules, request=ASK, worker=worker, cache=False), Answered)
    assert isinstance(lane.work(rules, request=ASK, worker=worker, cache=False), Answered)
    assert operations(mock) == ["count-tokens", "converse", "converse"]
    assert min(reserved(redis)) > BY_TOKENS
    events = [getattr(one, "event", "") for one in caplog.records]
    assert events.count("bedrock.uncounted") == 1


def test_a_prompt_that_cannot_be_counted_stops_counting_for_its_tenant_alone(lane, mock):
    worker, rules = patient(lane, mock), RULES + 'count_tokens = "always"\n'
    mock.faults.plan(["invalid"])
    for tenant in ("vandal", "vandal", "acme"):
        lane.work(rules, request=ASK, worker=worker, cache=False, tenant=tenant)
    assert operations(mock) == ["count-tokens", "converse", "converse", "count-tokens", "converse"]


def test_a_model_that_counts_no_tokens_is_not_asked(lane, mock):
    lane.work('[defaults]\nmodels = ["amazon.nova-lite-v1:0"]\ncount_tokens = "always"\n')
    assert operations(mock) == ["converse"]


def test_a_schema_that_is_not_counted_is_reserved_by_its_bytes(lane, mock, redis):
    schema = {
        "type": "object",
        "properties": {"day": {"type": "string", "description": "d" * 4000}},
    }
    request = Extract(text=TEXT, schema=schema)
    lane.work(RULES + 'count_tokens = "always"\n', request=request)
    [money] = reserved(redis)
    assert money > Prices.packaged().worst_case(MODEL, tokens(TEXT) + 4_000, 0) / 1e9


def test_a_long_text_in_parts_is_counted_if_the_bytes_break_the_budget(lane, mock, redis):
    mock.context_tokens = 5_000
    text = TEXT * 5
    outcome = lane.work(
        RULES + "daily_budget_usd = 0.06\n",
        request=Classify(text=text, labels=["water", "fire"]),
        worker=patient(lane, mock),
    )
    assert isinstance(outcome, Answered)
    assert "count-tokens" in operations(mock)
    assert Budget(redis).spent() == (outcome.answer.cost_nusd, 0)
