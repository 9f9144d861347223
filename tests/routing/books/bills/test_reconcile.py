"""The book of calls against Bedrock's invocation log and a Cost and Usage Report."""

import gzip
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from egress import HAIKU
from forebay.routing.books.bills.price_lists import PriceLists
from forebay.routing.books.bills.reconcile import (
    settle_known,
    with_cost_report,
    with_invocations,
)
from forebay.routing.books.call_book import CallBook
from forebay.routing.books.invocations import read_invocations, same_model
from forebay.routing.errors import InvalidJob
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices, Usage

PRICES = Prices.load()
USAGE = {
    "inputTokens": 1_000, "outputTokens": 100, "cacheReadInputTokens": 40,
    "cacheWriteInputTokens": 30, "cacheDetails": [{"ttl": "1h", "inputTokens": 10}],
}  # fmt: skip
TOKENS = Usage(1_000, 100, 40, 20, 10)
COST = PRICES.cost(HAIKU, TOKENS)


@pytest.fixture
def budget(redis):
    return Budget(redis)


def reserve(budget, call, nusd=10**9):
    terms = {"model": HAIKU, "base": HAIKU, "prices": PRICES.version, "tier": "default"}
    budget.reserve(call, f"acme.{call}", "acme", nusd, term_s=60, terms=terms)


def settle(budget, call, tokens=TOKENS, *, stand_in=False):
    bill = {"tokens": asdict(tokens), "tier": "default", "stand_in": stand_in}
    budget.settle(call, PRICES.cost(HAIKU, tokens), bill=bill)


def record(call, usage=USAGE, *, minute=0, **fields):
    return {
        "schemaType": "ModelInvocationLog", "timestamp": f"2099-01-01T00:{minute:02}:00Z",
        "region": "us-east-1", "requestId": f"r-{call}", "operation": "Converse", "modelId": HAIKU,
        "requestMetadata": {"forebay-call": call} if call else {},
        "input": {"inputTokenCount": 7}, "output": {"outputBodyJson": {"usage": usage}}, **fields,
    }  # fmt: skip


@pytest.fixture
def log(tmp_path):
    def write(*records):
        path = tmp_path / "log.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in records))
        return read_invocations(path)

    return write


def differences(redis, invocations):
    found = with_invocations(CallBook(redis).calls(), invocations, PRICES)
    return [(one.what, one.about, one.booked_nusd, one.billed_nusd) for one in found]


def test_what_agrees_is_not_listed(budget, redis, log):
    reserve(budget, "a")
    settle(budget, "a")
    assert differences(redis, log(record("a"))) == []


def test_what_differs_is_listed_call_by_call(budget, redis, log):
    for call in ("a", "b", "c"):
        reserve(budget, call)
    settle(budget, "a", Usage(1_000, 99))
    settle(budget, "c")
    listed = differences(redis, log(record("a"), record("b"), record("c"), record("theirs")))
    assert listed == [
        ("tokens", "a", PRICES.cost(HAIKU, Usage(1_000, 99)), COST),
        ("unknown_outcome", "b", None, COST),
        ("not_booked", "theirs", None, COST),
    ]


def test_a_call_that_bedrock_answered_with_an_error_was_free(budget, redis, log):
    reserve(budget, "a")
    budget.release("a")
    throttled = record("a", errorCode="ThrottlingException")
    assert differences(redis, log(throttled)) == []
    assert differences(redis, log(record("a"))) == [("tokens", "a", 0, COST)]


def test_calls_of_unknown_outcome_are_settled_by_the_log(budget, redis, log):
    for call in ("a", "b"):
        reserve(budget, call)
    logged = log(record("a"))
    settled = settle_known(budget, CallBook(redis).calls(), logged, PRICES)
    assert [call.id for call in settled] == ["a"]
    assert budget.spent() == (COST, 10**9)
    assert differences(redis, logged) == []
    assert settle_known(budget, CallBook(redis).calls(), logged, PRICES) == []
    (call, _) = sorted(CallBook(redis).calls(), key=lambda one: one.id)
    assert (call.tokens, call.settled_nusd) == (TOKENS, COST)


@pytest.mark.parametrize("form", ["list", "one", "gzip", "cloudwatch", "counts"])
def test_each_form_of_the_log_is_read(tmp_path, form):
    path, one = tmp_path / "log", record("a")
    texts = {
        "list": json.dumps([one]), "one": json.dumps(one, indent=2), "gzip": json.dumps(one),
        "cloudwatch": json.dumps([{"@timestamp": 1, "message": json.dumps(one)}]),
        "counts": json.dumps(record("a") | {"output": {"outputTokenCount": 3}}),
    }  # fmt: skip
    data = texts[form].encode()
    path.write_bytes(gzip.compress(data) if form == "gzip" else data)
    (read,) = read_invocations(path)
    assert (read.call, read.model) == ("a", HAIKU)
    assert read.tokens == (Usage(7, 3) if form == "counts" else TOKENS)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", b"call,cost\n", b"\xff", b"\x1f\x8bcut", b'{"modelId": 1}']
)
def test_a_file_that_is_no_log_is_one_error_that_names_it(tmp_path, data):
    path = tmp_path / "log"
    path.write_bytes(data)
    with pytest.raises(InvalidJob, match=str(path)) as error:
        read_invocations(path)
    assert error.value.field == "FILE"


NEGATIVE = {"timestamp": "2099-01-01T00:00:00Z", "modelId": "m", "input": {"inputTokenCount": -1}}
TEXT = NEGATIVE | {"input": {"inputTokenCount": "7"}}


@pytest.mark.parametrize("record", [NEGATIVE, TEXT])
def test_a_count_that_cannot_be_is_one_error(tmp_path, record):
    path = tmp_path / "log"
    path.write_text(json.dumps(record))
    with pytest.raises(InvalidJob, match="is no invocation log"):
        read_invocations(path)


def test_a_file_of_several_packed_parts_is_read_whole_and_within_its_bound(tmp_path, monkeypatch):
    path = tmp_path / "log.json.gz"
    parts = [gzip.compress(json.dumps(record(call)).encode() + b"\n") for call in "ab"]
    path.write_bytes(b"".join(parts))
    assert [one.call for one in read_invocations(path)] == ["a", "b"]
    monkeypatch.setattr("forebay.routing.books.invocations.MAX_FILE_BYTES", 1_000)
    path.write_bytes(gzip.compress(b" " * 100_000))
    with pytest.raises(InvalidJob, match="unpacks to more than"):
        read_invocations(path)


def test_a_record_that_was_delivered_twice_counts_once(budget, redis, log):
    for call in ("a", "b"):
        reserve(budget, call)
    settle(budget, "a")
    twice = log(record("a"), record("a"), record("b"), record("b"), record(""), record(""))
    assert differences(redis, twice) == [
        ("unknown_outcome", "b", None, COST), ("not_booked", "r-", None, COST),
    ]  # fmt: skip
    settle_known(budget, CallBook(redis).calls(), twice, PRICES)
    assert budget.spent() == (2 * COST, 0)


def test_a_call_that_was_billed_twice_is_listed_and_costs_both(budget, redis, log):
    for call in ("a", "b"):
        reserve(budget, call)
    settle(budget, "a")
    logged = log(
        record("a"), record("a", requestId="again"), record("b"), record("b", requestId="again"),
        record("b", requestId="failed", errorCode="ThrottlingException"),
    )  # fmt: skip
    assert differences(redis, logged) == [
        ("tokens", "a", COST, 2 * COST), ("billed_twice", "a", COST, 2 * COST),
        ("unknown_outcome", "b", None, 2 * COST), ("billed_twice", "b", None, 2 * COST),
    ]  # fmt: skip


ARN = "arn:aws:bedrock:us-east-1:123456789012:"


@pytest.mark.parametrize(
    ("called", "logged", "same"),
    [
        (HAIKU, HAIKU, True),
        (f"us.{HAIKU}", f"{ARN}inference-profile/us.{HAIKU}", True),
        (f"us.{HAIKU}", f"arn:aws:bedrock:us-west-2::foundation-model/{HAIKU}", True),
        (f"{ARN}application-inference-profile/abc", f"arn:x::foundation-model/{HAIKU}", True),
        (f"us.{HAIKU}", f"{ARN}inference-profile/eu.{HAIKU}", False),
        (HAIKU, "anthropic.claude-opus-5-5", False),
        (HAIKU, f"{ARN}inference-profile/us.anthropic.claude-opus-5-5", False),
    ],
)
def test_a_profile_is_told_from_another_model(called, logged, same):
    assert same_model(called, logged) == same


def test_a_call_that_was_billed_as_another_model_is_listed(budget, redis, log):
    reserve(budget, "a")
    settle(budget, "a")
    profile = f"{ARN}inference-profile/us.{HAIKU}"
    assert differences(redis, log(record("a", modelId=profile))) == []
    other = differences(redis, log(record("a", modelId="anthropic.claude-opus-5-5")))
    assert other == [("model", "a", COST, COST)]


def booked_now(budget, redis, call, log, **fields):
    """Book a call, and return a log that has calls of others before and after it."""
    reserve(budget, call)
    settle(budget, call)
    (found,) = (one for one in CallBook(redis).calls() if one.id == call)
    before = record("", requestId="before", timestamp="2020-01-01T00:00:00Z", **fields)
    return found, log(before, record("", requestId="after", **fields))


def test_a_call_that_the_log_lacks_is_listed_if_the_log_has_to_have_it(budget, redis, log):
    found, logged = booked_now(budget, redis, "a", log)
    there = replace(found, region="us-east-1 at vpce")

    def missing(call, invocations=logged):
        listed = with_invocations([call], invocations, PRICES)
        return [one.about for one in listed if one.what == "not_billed"]

    assert missing(there) == ["a"]
    assert missing(replace(there, region="eu-west-1")) == []  # its log is another one
    assert missing(replace(there, tier="batch")) == []  # records of batches are not logged
    assert missing(replace(there, stand_in=True)) == []
    assert missing(replace(there, region="endpoint mine at host")) == []
    assert missing(there, logged[:1]) == []  # the log ends before it


def test_the_results_of_a_batch_tell_what_became_of_its_records(budget, redis, log):
    for call in ("a", "b"):
        reserve(budget, call)
    lines = [
        {
            "recordId": "1", "modelInput": {"requestMetadata": {"forebay-call": "a"}},
            "modelOutput": {"usage": USAGE},
        },
        {
            "recordId": "2", "modelInput": {"requestMetadata": {"forebay-call": "b"}},
            "error": {"errorCode": 400},
        },
    ]  # fmt: skip
    settle_known(budget, CallBook(redis).calls(), log(*lines), PRICES)
    assert budget.spent() == (COST, 0)


def test_the_usage_of_a_stream_is_in_its_last_event(log):
    events = [{"messageStart": {}}, {"metadata": {"usage": USAGE}}, {"other": 1}]
    (one,) = log(record("a", output={"outputBodyJson": events}))
    assert one.tokens == TOKENS


def at(call):
    return datetime.fromtimestamp(call.at_ms / 1_000, UTC).date().isoformat()


def test_a_cost_report_is_compared_day_by_day(budget, redis):
    for call in ("a", "b", "mock"):
        reserve(budget, call)
        settle(budget, call, stand_in=call == "mock")
    calls = CallBook(redis).calls()
    today = at(calls[0])
    assert list(with_cost_report(calls, {today: 2 * COST})) == []
    assert list(with_cost_report(calls, {today: 2 * COST - 2})) == []  # each was rounded up
    for billed in (2 * COST + 1, 2 * COST - 3):
        (one,) = with_cost_report(calls, {today: billed})
        assert (one.what, one.about, one.booked_nusd) == ("dollars", today, 2 * COST)


def test_a_day_that_the_bill_or_the_book_lacks_is_listed_within_both(budget, redis):
    reserve(budget, "a")
    settle(budget, "a")
    (call,) = CallBook(redis).calls()
    day_ms = 86_400_000
    calls = [replace(call, id=str(n), at_ms=call.at_ms + n * day_ms) for n in range(3)]
    days = [at(one) for one in calls]
    listed = with_cost_report(calls, {"2020-01-01": 5, days[0]: COST, days[2]: COST})
    assert [(one.about, one.booked_nusd, one.billed_nusd) for one in listed] == [(days[1], COST, 0)]
    listed = with_cost_report([calls[0], calls[2]], dict.fromkeys(days, COST))
    assert [(one.about, one.booked_nusd) for one in listed] == [(days[1], 0)]


def test_a_call_is_settled_by_the_prices_that_were_in_force_when_it_was_planned(budget, redis, log):
    lists = PriceLists(redis)
    old = lists.following(lambda: PRICES)()
    assert lists.all() == {old.version: PRICES}
    for call in "ab":
        reserve(budget, call)
    bands = [{"above": 0, "input": 50, "output": 60}]
    values = {"date": "2027-01-01", "geography": {"region": 1}, "models": {HAIKU: {"bands": bands}}}
    new = Prices.model_validate(values)
    invocations, calls = log(record("a"), record("b")), CallBook(redis).calls()
    billed = [one.billed_nusd for one in with_invocations(calls, invocations, new, lists.all())]
    assert billed == [COST, COST]
    settle_known(budget, calls[:1], invocations, new, lists.all())
    assert budget.spent() == (COST, 10**9)
    settle_known(budget, calls[1:], invocations, new)  # a list that is not known any more
    assert budget.spent() == (COST + new.cost(HAIKU, TOKENS), 0)


def test_price_lists_are_kept_within_a_bound_and_without_redis_none_is(redis, monkeypatch):
    monkeypatch.setattr("forebay.routing.books.bills.price_lists.MAX_LISTS", 0)
    assert PriceLists(redis).following(lambda: PRICES)() is PRICES
    redis.hset("fb:books:prices", "odd", "no list")
    assert PriceLists(redis).all() == {}
    with redis_py.Redis(port=1, retry=Retry(NoBackoff(), 0)) as unreachable:
        assert PriceLists(unreachable).following(lambda: PRICES)() is PRICES
