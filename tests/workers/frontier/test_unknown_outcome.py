"""A stream that is cut: its cost is unknown, listed, and booked once Bedrock's own log tells it."""

import json
from datetime import UTC, datetime

import pytest

from forebay.routing.books.bills.price_lists import PriceLists
from forebay.routing.books.bills.reconcile import settle_known, with_invocations
from forebay.routing.books.call_book import CallBook
from forebay.routing.books.invocations import read_invocations
from forebay.routing.limits.prices import Prices, Usage
from forebay.workers.runtime.outcomes import Retry, Routed


@pytest.mark.parametrize(("stream", "fault"), [(True, "half"), (True, "drop"), (False, "half")])
def test_a_cut_answer_stays_reserved_until_the_log_tells_its_cost(
    lane, mock, redis, tmp_path, stream, fault
):
    mock.faults.plan([fault])
    outcome = lane.work(stream=stream)
    assert isinstance(outcome, Retry)
    assert outcome.counted
    (call,) = CallBook(redis).calls()
    settled, reserved = lane.budget.spent()
    assert (call.state, call.tokens, settled) == ("open", None, 0)
    assert reserved == call.reserved_nusd > 0
    assert isinstance(lane.again(), Retry)  # and nobody pays again meanwhile

    path, usage = tmp_path / "log.json", Usage(12, 34)
    path.write_text(json.dumps(logged(mock.calls[0], usage)))
    invocations, lists = read_invocations(path), PriceLists(redis).all()
    (one,) = with_invocations([call], invocations, Prices.load(), lists)
    cost = lists[call.prices].cost(call.base, usage)
    assert (one.what, one.about, one.billed_nusd) == ("unknown_outcome", call.id, cost)
    assert settle_known(lane.budget, [call], invocations, Prices.load(), lists) == [call]
    assert lane.budget.spent() == (cost, 0)
    assert lane.budget.open() == []
    assert isinstance(lane.again(), Routed)  # it was paid for: the job is answered locally
    assert len(mock.calls) == 1
    (call,) = CallBook(redis).calls()
    assert (call.state, call.tokens, call.settled_nusd) == ("settled", usage, cost)


def logged(call, usage):
    return {
        "timestamp": datetime.fromtimestamp(call.at, UTC).isoformat(), "modelId": call.model,
        "requestId": "r", "region": "us-east-1", "requestMetadata": {"forebay-call": call.call_id},
        "input": {"inputTokenCount": usage.input}, "output": {"outputTokenCount": usage.output},
    }  # fmt: skip
