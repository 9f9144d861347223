"""The books over calls and causes, the latency beside a storm, and the storms' own requests."""

import dataclasses
import random

import pytest

from books import causes, jobs, money
from books.diary import Entry
from books.finding import Told
from books.journal import Change, Journal
from forebay.routing.jobs import Receipt, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices, Usage
from forebay.routing.settings import Settings
from mock_bedrock.spoiled import SPOILED, hides_cost
from ordeal.schedule import STORMS as FAULTS
from ordeal.workload import Order
from storms import hostile_requests
from storms.all_storms import STORMS
from storms.latency import Comparison, Windows
from storms.neighbours import Timing, neighbour_jobs
from storms.trial import Plan

MODEL = "anthropic.claude-haiku-5-5"


def wrong(findings) -> dict[str, int]:
    return {finding.name: finding.wrong for finding in findings if finding.wrong}


def call(**fields):
    return {
        "call_id": "one", "at": 0.0, "status": 200, "fault": None, "text": "", "whole": True,
        "tokens_in": 10, "tokens_out": 2, "cache_read": 0, "cache_written": 0, "took_s": 0.1,
        **fields,
    }  # fmt: skip


@pytest.fixture
def spend(redis):
    spend = Budget(redis)
    spend.reserve(
        "one", "acme.1", "acme", 9_000,
        term_s=66.0,
    )  # fmt: skip
    return spend


# --- money ----------------------------------------------------------------------------------------


def test_the_books_know_the_list_price():
    usage = Usage(input=10, output=2)
    listed = 10 * money.INPUT_NUSD + 2 * money.OUTPUT_NUSD
    assert Prices.load().cost(MODEL, usage) == listed


@pytest.mark.parametrize(
    ("booked", "seen", "well"),
    [
        (2_200, {}, True),
        (2_201, {}, False),
        (9_000, {"fault": "output_nan"}, True),
        (2_200, {"fault": "output_nan"}, False),
        (2_200, {"fault": "stop_null"}, True),
        (2_200, {"whole": False, "fault": "half"}, False),
    ],
)
def test_a_call_that_is_booked_at_another_amount_is_found(spend, booked, seen, well):
    spend.settle("one", booked)
    found = wrong(money.of_money(spend, [call(**seen)]))
    assert found == ({} if well else {"calls booked at another amount": 1})


def test_a_call_of_unknown_cost_stays_reserved(spend):
    assert not wrong(money.of_money(spend, [call(whole=False, fault="half")]))


def test_sums_and_receipts_that_differ_from_the_calls_are_found(spend, redis):
    spend.settle("one", 2_200)
    entries = [spend.find("one")]
    assert not wrong(money.of_sums(spend, entries))
    assert not money.of_receipts({"acme.1": 2_200, "acme.2": 0}, entries).wrong
    assert money.of_receipts({"acme.1": 2_199, "acme.2": 5}, entries).wrong == 2
    redis.hincrby(next(redis.scan_iter("fb:spend:day:*")), "*:settled", 1)
    assert wrong(money.of_sums(spend, entries)) == {
        "sums of the day that are not those of its calls": 1
    }


def test_the_mocks_bill_is_what_is_booked_to_the_last_billionth(spend):
    spend.reserve("two", "acme.2", "acme", 9_000, term_s=66.0)
    spend.settle("one", 2_200)
    entries, calls = [spend.find("one"), spend.find("two")], [call(), call(call_id="two")]
    unknown = money.unknown_calls(entries, calls, [Entry(1.0, 7, "died", "send", "-")])
    assert [(each.call_id, each.billed_nusd, each.cause) for each in unknown] == [
        ("two", 2_200, "its worker died")
    ]
    assert not wrong(money.of_bill(entries, calls, unknown))
    assert wrong(money.of_bill(entries, calls, [])) == {"the mock's bill is not what is booked": 1}
    assert wrong(money.of_bill(entries[:1], [], [])) == {
        "booked, and never called": 1,
        "the mock's bill is not what is booked": 1,
    }


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        ({"took_s": 3.1, "whole": False}, "the mock took 3.1 s"),
        ({"whole": False, "status": None, "fault": "hang:5"}, "the mock's fault hang:5"),
        ({"whole": False, "status": 500, "fault": "internal"}, "the mock's fault internal"),
        ({"took_s": 3.2}, "the mock took 3.2 s"),
        ({"whole": False, "status": 429, "fault": "throttle"}, ""),
        ({}, ""),
    ],
)
def test_each_call_of_unknown_outcome_needs_a_cause(spend, seen, cause):
    entries, calls = [spend.find("one")], [call(**seen)]
    (unknown,) = money.unknown_calls(entries, calls, [])
    assert unknown.cause == cause
    found = wrong(money.of_bill(entries, calls, [unknown]))
    assert ("calls of an unknown outcome that nothing explains" in found) is not bool(cause)


def test_a_repair_is_no_second_payment():
    journal = Journal()
    journal.reserved |= {"one": ("acme.1", 0.0), "two": ("acme.1", 1.0)}
    again = [call(), call(call_id="two", at=1.1)]
    assert wrong(money.of_terms(again, journal, 66.0))
    repair = {"text": f"... {money.ANSWERED} ..."}
    assert not wrong(money.of_terms([call(), call(call_id="two", at=1.1, **repair)], journal, 66.0))


@pytest.mark.parametrize("fault", sorted(SPOILED))
def test_the_mock_says_which_answers_hide_their_cost(fault):
    assert hides_cost(fault) is any(
        path.split(".")[0] in {"usage", "serviceTier"} for path in SPOILED[fault]
    )


# --- causes ---------------------------------------------------------------------------------------


def order(**fields):
    fields = {"options": {}, "fails": frozenset(), "cancel_s": None} | fields
    request = Summarize(text="t")
    return Order(1, 0.0, "echo", request, again=False, stubborn=True, **fields)


def end(status, error=None):
    return Receipt.model_construct(id="echo.1", status=status, error=error)


def found(ended, ordered, **evidence):
    calls, journal = evidence.get("calls", []), evidence.get("journal", Journal())
    return wrong(
        causes.of_causes({"echo.1": ordered}, [ended], evidence.get("diary", []), calls, journal)
    )


def test_a_job_that_ended_with_another_cause_is_found():
    assert not found(end("done"), order())
    assert found(end("cancelled"), order()) == {"cancelled, and nobody did": 1}
    assert not found(end("cancelled"), order(cancel_s=1.0))
    assert found(end("expired", "expired"), order()) == {"expired without a deadline": 1}
    assert not found(end("expired", "expired"), order(options={"deadline": 1}))
    assert found(end("failed", "engine_died"), order()) == {"failed with another's cause": 1}
    assert not found(end("failed", "engine_died"), order(fails=frozenset({"engine_died"})))


def test_a_job_whose_workers_died_may_fail_even_if_none_wrote_its_claims_down():
    journal, died = Journal(), end("failed", "engine_died")
    for number in range(3):
        journal.lives["echo.1"].append(Change(1.0, "running", f"{number}-a"))
    assert found(died, order(), journal=journal) == {"failed with another's cause": 1}
    journal.lives["echo.1"].append(Change(1.0, "running", "4-a"))
    assert not found(died, order(), journal=journal)


def test_a_bad_answer_is_the_cause_only_of_the_job_that_got_it():
    journal = Journal()
    journal.reserved["one"] = ("echo.1", 0.0)
    failed = end("failed", "bad_answer")
    assert found(failed, order(), calls=[call()], journal=journal)
    assert found(failed, order(), calls=[call(fault="slow:2")], journal=journal)
    assert not found(failed, order(), calls=[call(fault="text_null")], journal=journal)


def test_nothing_is_promised_about_the_jobs_of_a_forger(redis):
    ledger = Ledger(redis, Settings(), "{}")
    redis.hset("fb:job:vandal.1", mapping={"state": "x"})
    told = Told(set(), set(), forger="vandal")
    assert not wrong(jobs.of_jobs(redis, ledger, told))
    redis.hset("fb:job:vandals.1", mapping={"state": "done", "kind": "classify"})
    with pytest.raises(Exception, match="record"):
        wrong(jobs.of_jobs(redis, ledger, told))


# --- latency --------------------------------------------------------------------------------------


def timed(seconds: float, due: float) -> list[Timing]:
    return [Timing(due + number / 100, "local", "done", seconds) for number in range(40)]


def test_jobs_that_wait_more_than_twice_as_long_beside_a_storm_are_found():
    windows = Windows(((0, 10), (30, 40)), (10, 20))
    quick, slow = timed(1.0, 0) + timed(1.0, 30), timed(2.1, 10)
    assert Comparison.of("local", quick + timed(1.9, 10), windows).fault == ""
    assert Comparison.of("local", quick + slow, windows).fault == "local: x 2.10"
    assert "too few" in Comparison.of("local", quick, windows).fault
    busy = Comparison.of("local", timed(3.0, 0) + timed(3.0, 10), windows)
    assert "too busy" in busy.fault
    assert (
        Comparison.of("local", quick + timed(9.9, 25), windows).storm == ()
    )  # between the windows


# --- what storms send -----------------------------------------------------------------------------


@pytest.mark.parametrize("maker", hostile_requests.MAKERS, ids=lambda maker: maker.__name__)
def test_a_hostile_request_is_no_invalid_job_and_carries_its_mark(maker):
    request = maker(random.Random(1), "OPENMARK12")
    assert "OPENMARK12" in request.model_dump_json(by_alias=True)


def test_every_family_of_faults_of_the_account_and_of_usage_comes_in_a_run_of_kills():
    played = {fault for storm in FAULTS for fault in storm}
    assert {"expired", "denied", "not_allowed", *SPOILED} <= played
    assert {"schemas", "full", "tenant", "account", "usage", "slow"} == set(STORMS)


def test_a_seed_determines_the_jobs_of_others():
    plan = Plan(3, 8.0, 12.0, 15.0)
    first, second = ([dataclasses.astuple(job)[:4] for job in plan.orders()] for _ in range(2))
    assert first == second
    assert {lane for *_, lane in first} == {"local", "bedrock"}
    assert list(neighbour_jobs(4, 8.0, 5.0)) != list(neighbour_jobs(3, 8.0, 5.0))
