"""A text that is longer than a frontier model's context is answered in parts, under one budget."""

from __future__ import annotations

import json

import pytest

from forebay.routing.books.call_book import CallBook
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.jobs import Job
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices, Usage
from forebay.workers.frontier import long_texts
from mock_bedrock.canned_answers import References

pytest_plugins = ["waterfall"]

MODEL = "amazon.nova-lite-v1:0"
TEXT = " ".join(f"On day {i} the water rose by {i} inches." for i in range(1_200))
LONG = {"kind": "summarize", "text": TEXT, "max_words": 20}
CONTEXT = 5_000  # tokens, of which the text has about three times as many


class Watched(References):
    """Answers as the mock does, and notes what is reserved during each call."""

    def __init__(self, budget):
        super().__init__()
        self.budget, self.reserved = budget, []
        self.during = lambda number: None

    def answer(self, prompt, schema):
        self.reserved.append(self.budget.spent()[1])
        self.during(len(self.reserved))
        return super().answer(prompt, schema)


@pytest.fixture
def seen(lanes, monkeypatch):
    """The mock with a small context."""
    watched = Watched(Budget(lanes.redis))
    monkeypatch.setattr(lanes.mock, "references", watched)
    monkeypatch.setattr(lanes.mock, "context_tokens", CONTEXT)
    return watched


def asked(lanes, request=LONG, rules="", **options):
    """Work a job that is pinned to Bedrock; return its result."""
    lanes.rules(f'[tenants.default]\nmodels = ["{MODEL}"]\n{rules}')
    job = Job(request=request, egress="allow", lane="bedrock", **options)
    lanes.ledger.create([job])
    lanes.work("route", "bedrock")
    [result] = lanes.ledger.results([job.id])
    return result


def billed(lanes):
    """Return the calls that the mock bills, and their cost by its own counts."""
    calls = [call for call in lanes.mock.calls if call.status == 200]
    usages = [Usage(input=call.tokens_in, output=call.tokens_out) for call in calls]
    return calls, sum(Prices.packaged().cost(MODEL, usage) for usage in usages)


def test_one_receipt_holds_all_calls_and_their_money(lanes, seen):
    answer = asked(lanes)
    assert answer.status == "done"
    assert answer.lane == "bedrock"
    [parts] = [code for code in answer.reasons if code.startswith("in_parts:")]
    assert not answer.reason.startswith("in_parts")
    calls, cost_nusd = billed(lanes)
    assert len(calls) == int(parts.partition(":")[2]) + 1 > 3
    assert answer.cost_nusd == cost_nusd
    assert answer.tokens_in == sum(call.tokens_in for call in calls) > len(TEXT) // 5
    assert answer.tokens_out == sum(call.tokens_out for call in calls)
    assert Budget(lanes.redis).spent() == (cost_nusd, 0)


def test_each_call_is_in_the_egress_log_and_in_the_book_of_calls(lanes, seen):
    asked(lanes)
    calls, cost_nusd = billed(lanes)
    entries = {entry.leaving.call: entry.leaving for entry in EgressLog(lanes.redis).read()}
    assert {call.call_id for call in lanes.mock.calls} == entries.keys()
    book = {call.id: call for call in CallBook(lanes.redis).calls() if call.state == "settled"}
    assert {call.call_id for call in calls} == book.keys()
    assert sum(call.settled_nusd for call in book.values()) == cost_nusd
    purposes = [entries[call.call_id].purpose for call in calls]
    assert purposes == ["part"] * (len(calls) - 1) + ["answer"]


def test_the_money_of_all_calls_is_reserved_before_the_first(lanes, seen):
    answer = asked(lanes)
    assert seen.reserved[0] >= answer.cost_nusd
    assert seen.reserved == sorted(seen.reserved, reverse=True)
    assert len(set(seen.reserved)) == len(seen.reserved), "each call gives back its own part"


def test_a_budget_that_covers_some_parts_only_pays_for_none(lanes, seen):
    whole = Prices.packaged().worst_case(MODEL, len(TEXT) + 2_000, 500)
    receipt = asked(lanes, rules=f"daily_budget_usd = {whole * 1.01e-9:.9f}\n")
    assert receipt.error == "budget_exceeded"
    assert len(lanes.mock.calls) < 5
    assert billed(lanes) == ([], 0), "only free rejections"
    assert Budget(lanes.redis).spent() == (0, 0)


def test_a_job_that_may_cost_less_than_all_parts_pays_for_none(lanes, seen):
    whole = Prices.packaged().worst_case(MODEL, len(TEXT) + 2_000, 500)
    receipt = asked(lanes, max_cost_usd=whole * 1.01e-9)
    assert receipt.error == "budget_exceeded"
    assert billed(lanes) == ([], 0)


@pytest.mark.parametrize(("max_parts", "says"), [(0, "does not fit"), (2, "2 (max_parts)")])
def test_the_policy_bounds_the_parts(lanes, seen, max_parts, says):
    receipt = asked(lanes, rules=f"max_parts = {max_parts}\n")
    assert receipt.error == "too_long"
    assert says in receipt.error_note
    assert Budget(lanes.redis).spent() == (0, 0)


def test_a_label_is_chosen_by_what_is_left_of_the_text(lanes, seen):
    answer = asked(lanes, {"kind": "classify", "text": TEXT, "labels": ["water", "fire"]})
    assert answer.content.label == "water"
    assert Budget(lanes.redis).spent() == (answer.cost_nusd, 0)


def test_facts_are_not_extracted_from_summaries(lanes, seen):
    schema = {"type": "object", "properties": {"day": {"type": "integer"}}}
    assert asked(lanes, {"kind": "extract", "text": TEXT, "schema": schema}).error == "too_long"


def test_a_model_with_a_larger_context_is_asked_for_the_whole_text_first(lanes, seen, monkeypatch):
    lanes.rules(f'[tenants.default]\nmodels = ["{MODEL}", "amazon.nova-pro-v1:0"]\n')
    monkeypatch.setattr(lanes.mock, "context_tokens", None)
    lanes.mock.faults.plan(["too_long"])
    job = Job(request=LONG, egress="allow", lane="bedrock")
    lanes.ledger.create([job])
    lanes.work("route", "bedrock")
    [answer] = lanes.ledger.results([job.id])
    assert answer.model == "amazon.nova-pro-v1:0"
    assert not [code for code in answer.reasons if code.startswith("in_parts")]


def test_a_part_of_denser_text_is_cut_once_more(lanes, seen):
    dense = TEXT[: len(TEXT) // 2] + "水" * (len(TEXT) // 2)
    answer = asked(lanes, {**LONG, "text": dense})
    assert answer.status == "done"
    assert Budget(lanes.redis).spent() == (answer.cost_nusd, 0)


def test_a_busy_model_is_waited_for_when_parts_are_paid_for(lanes, seen, monkeypatch):
    monkeypatch.setattr(long_texts, "PAUSE_S", 0.01)
    monkeypatch.setattr(lanes.mock, "context_tokens", None)
    lanes.mock.faults.plan(["too_long", None, "unavailable"])
    answer = asked(lanes)
    assert answer.status == "done"
    calls, cost_nusd = billed(lanes)
    assert answer.cost_nusd == cost_nusd
    assert len({json.loads(call.text)["messages"][0]["content"][0]["text"] for call in calls}) == (
        len(calls)
    ), "no part is paid for twice"
    assert Budget(lanes.redis).spent() == (cost_nusd, 0)


def test_a_call_of_unknown_outcome_keeps_its_money_and_stops_the_rest(lanes, seen, monkeypatch):
    monkeypatch.setattr(lanes.mock, "context_tokens", None)
    lanes.mock.faults.plan(["too_long", None, "drop"])
    lanes.rules(f'[tenants.default]\nmodels = ["{MODEL}"]\n')
    job = Job(request=LONG, egress="allow", lane="bedrock")
    lanes.ledger.create([job])
    lanes.work("route", "bedrock")
    assert lanes.ledger.record(job.id).state == "waiting"
    settled, reserved = Budget(lanes.redis).spent()
    assert settled == billed(lanes)[1] > 0
    assert reserved > 0
    assert len(Budget(lanes.redis).open()) == 1


def test_a_job_that_is_cancelled_between_two_parts_pays_for_no_other(lanes, seen):
    jobs = []

    def cancel(number):
        if number == 2:
            lanes.ledger.cancel(jobs[0].id)

    seen.during = cancel
    lanes.rules(f'[tenants.default]\nmodels = ["{MODEL}"]\n')
    jobs.append(Job(request=LONG, egress="allow", lane="bedrock"))
    lanes.ledger.create(jobs)
    lanes.work("route", "bedrock")
    calls, cost_nusd = billed(lanes)
    assert len(calls) == 2
    assert Budget(lanes.redis).spent() == (cost_nusd, 0)
