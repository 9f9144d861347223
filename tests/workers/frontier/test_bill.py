"""The mock's own bill equals the books to the billionth of a dollar, after faults of every sort.

The bill is computed here from the price list's text with fractions of whole numbers, and from what
the mock says that it billed: none of it is the product's arithmetic.
"""

import random
import re
from fractions import Fraction
from pathlib import Path

import pytest

import forebay.routing.limits
from forebay.routing.books.call_book import CallBook
from forebay.routing.jobs import Generate, Message
from forebay.routing.limits.budget import Budget

LISTED = Path(forebay.routing.limits.__file__).with_name("prices.toml").read_text()
MODELS = ["anthropic.claude-haiku-5-5", "eu.anthropic.claude-sonnet-5-5", "amazon.nova-micro-v1:0"]
FAULTS = [
    "throttle", "unavailable", "model_error", "refuse", "malformed", "invalid", "half", "drop",
    "usage_missing", "tier_unknown", None, None, None,
]  # fmt: skip


def listed(model):
    """Return what the price list's text says of a model: prices in and out, and its factor."""
    bare = model.removeprefix("eu.")
    block = LISTED.partition(f'[models."{bare}"]')[2].partition("\n[models")[0]
    prices = re.search(r"above = 0, input = ([\d.]+), output = ([\d.]+)", block)
    regional = Fraction(11, 10) if "by_geography = true" in block else Fraction(1)
    return Fraction(prices[1]), Fraction(prices[2]), regional


def bill(call):
    """Return what a call costs in billionths of a dollar, a part of one counted as a whole."""
    of_input, of_output, factor = listed(call.model)
    exact = (call.tokens_in * of_input + call.tokens_out * of_output) * factor * 1_000
    return -(-exact.numerator // exact.denominator)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_bill_of_the_mock_is_what_the_books_say(lane, mock, redis, seed):
    dice = random.Random(seed)
    lane.worker()
    for _ in range(12):
        mock.faults.plan([dice.choice(FAULTS)])
        words = "word " * dice.randint(1, 400)
        ask = Generate(
            messages=[Message(role="user", content=words)], max_tokens=dice.randint(5, 90)
        )
        lane.work(f'[defaults]\nmodels = ["{dice.choice(MODELS)}"]\n', request=ask)
        redis.delete("fb:spillway:shut", *redis.keys("fb:spillway*"))
    calls = {call.id: call for call in CallBook(redis).calls()}
    reached = {call.call_id: call for call in mock.calls}
    assert calls.keys() == reached.keys()
    unknown = {name for name, call in calls.items() if call.state == "open"}
    for name, call in calls.items():
        if call.estimated:
            assert bill(reached[name]) <= call.settled_nusd == call.reserved_nusd
        elif name not in unknown:
            assert call.settled_nusd == bill(reached[name]), name
    over = sum(call.settled_nusd - bill(reached[n]) for n, call in calls.items() if call.estimated)
    settled = over + sum(bill(call) for name, call in reached.items() if name not in unknown)
    reserved = sum(calls[name].reserved_nusd for name in unknown)
    assert Budget(redis).spent() == (settled, reserved)
    assert settled > 0
    for name in unknown:  # one by one, by the bill
        Budget(redis).settle(name, bill(reached[name]))
    assert Budget(redis).spent() == (over + sum(map(bill, mock.calls)), 0)
    assert all(call.stand_in in {True, None} for call in calls.values())
