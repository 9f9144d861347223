"""What an API key may use in a minute."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from forebay.producers.gateway.rates import Rates, Take
from forebay.routing.store.scripts import digest, load_all

KEY = "0123456789ab"


class One:
    """Takes one at a time, or raises the error."""

    def __init__(self, rates):
        self._rates = rates

    def take(self, *take):
        (taken,) = self._rates.take_all([Take(*take)])
        if isinstance(taken, Exception):
            raise taken
        return taken


@pytest.fixture
def rates(redis):
    return One(Rates(redis))


def test_many_take_in_one_round_trip_each_after_the_one_before(redis):
    taken = Rates(redis).take_all([Take(KEY, (2, None), 1, 5), Take("ff", (1, None), 1, 5)] * 2)
    assert [one.lacking for one in taken] == [None, None, None, "requests"]


def test_requests_are_let_in_until_the_minute_is_used_up(rates):
    taken = [rates.take(KEY, (3, None), 1, 50) for _ in range(4)]
    assert [one.wait_s is None for one in taken] == [True, True, True, False]
    assert [one.requests for one in taken[:3]] == [2, 1, 0]
    assert taken[3].lacking == "requests"
    assert 19 < taken[3].wait_s <= 20


def test_tokens_are_taken_beside_requests_or_not_at_all(rates):
    limits = (100, 1000)
    assert rates.take(KEY, limits, 1, 900).tokens == 100
    refused = rates.take(KEY, limits, 1, 200)
    assert (refused.lacking, refused.wait_s is not None) == ("tokens", True)
    assert rates.take(KEY, limits, 1, 50).requests == 98  # the refused one took no request


def test_giving_back_tokens_leaves_the_requests_as_they_are(rates):
    both, tokens_alone = (100, 1000), (None, 1000)
    assert rates.take(KEY, both, 1, 900).requests == 99
    rates.take(KEY, both, 0, -800)
    rates.take(KEY, tokens_alone, 0, -50)
    assert rates.take(KEY, both, 1, 10).requests == 98


def test_tokens_that_were_not_used_are_given_back(rates):
    assert rates.take(KEY, (None, 1000), 1, 1000).tokens == 0
    assert rates.take(KEY, (None, 1000), 0, -600).tokens == 600
    assert rates.take(KEY, (None, 1000), 0, -10_000).tokens == 1000


def test_a_request_for_more_than_the_limit_passes_when_the_minute_is_unused(rates):
    assert rates.take(KEY, (None, 100), 1, 5000).wait_s is None
    waiting = rates.take(KEY, (None, 100), 1, 1)
    assert 2900 < waiting.wait_s < 3000


def test_every_key_has_a_minute_of_its_own_and_its_state_expires(rates, redis):
    rates.take(KEY, (1, None), 1, 0)
    assert rates.take("ffffffffffff", (1, None), 1, 0).wait_s is None
    assert 0 < redis.pttl(f"fb:rate:{KEY}") <= 60_000


def test_the_script_touches_no_key_but_its_own(redis):
    load_all(redis)
    for name in ("../x", "a:b", "", "*"):
        with pytest.raises(ResponseError, match="id"):
            redis.evalsha(digest("rate"), 0, name, 1, 1, 1, 1)
    assert redis.keys() == []


def test_a_key_gets_its_minute_also_if_the_clock_was_set_back(rates, redis):
    for _ in range(3):
        rates.take(KEY, (3, 100), 1, 30)
    assert rates.take(KEY, (3, 100), 1, 30).lacking == "requests"
    redis.hincrby(f"fb:rate:{KEY}", "at", 86_400_000)
    assert rates.take(KEY, (3, 100), 1, 30).lacking is None
