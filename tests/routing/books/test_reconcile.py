"""The book of calls against Bedrock's invocation log and a Cost and Usage Report."""

import gzip
import json

import pytest

from egress import HAIKU
from forebay.routing.books.call_book import CallBook
from forebay.routing.books.invocations import (
    is_cost_report,
    read_cost_report,
    read_invocations,
)
from forebay.routing.books.reconcile import settle_known, with_cost_report, with_invocations
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
    from dataclasses import asdict  # noqa: PLC0415 - beside its only use

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


HEADS = [
    "lineItem/UsageStartDate,lineItem/ProductCode,lineItem/UnblendedCost",
    "line_item_usage_start_date,line_item_product_code,line_item_unblended_cost",
]


@pytest.mark.parametrize("head", HEADS)
def test_a_cost_report_is_compared_day_by_day(budget, redis, tmp_path, head):
    for call in ("a", "b", "mock"):
        reserve(budget, call)
        settle(budget, call, stand_in=call == "mock")
    calls, path = CallBook(redis).calls(), tmp_path / "cur.csv"
    from datetime import UTC, datetime  # noqa: PLC0415 - beside its only use

    today = datetime.fromtimestamp(calls[0].at_ms / 1_000, UTC).date().isoformat()
    dollars = 2 * COST / 10**9
    path.write_text(
        f"{head}\n{today}T00:00:00Z,AmazonBedrock,{dollars:.9f}\n{today}T00:00:00Z,AmazonEC2,99\n"
    )
    assert is_cost_report(path)
    days = read_cost_report(path)
    assert days == {today: 2 * COST}
    assert list(with_cost_report(calls, days)) == []
    (one,) = with_cost_report(calls, {today: 2 * COST + 5})
    assert (one.what, one.about, one.booked_nusd) == ("dollars", today, 2 * COST)


def test_a_cost_report_without_its_columns_is_one_error(tmp_path):
    path = tmp_path / "cur.csv"
    path.write_text("lineItem/UnblendedCost,x\n1,2\n")
    with pytest.raises(InvalidJob, match="is no Cost and Usage Report"):
        read_cost_report(path)
