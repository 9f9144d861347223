"""Agreement rates: counted by workers, shared through Redis, and never in the way."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import redis as redis_py

from forebay.routing.learning import agreement_rates
from forebay.routing.learning.agreement_rates import SHRINKAGE, AgreementRates

PAIR = ("acme", "generate", "small", "other")


@pytest.fixture
def rates(redis, monkeypatch):
    monkeypatch.setattr(agreement_rates, "LOOK_EVERY_S", 0)
    return AgreementRates(redis)


def test_a_pair_without_second_opinions_has_the_usual_rate(rates):
    assert rates.rate(*PAIR, 0.5) == 0.5


def test_the_rate_moves_from_the_usual_one_to_what_was_counted_in_any_process(rates, redis):
    for _ in range(SHRINKAGE):
        rates.count(*PAIR, 1.0)
    other_process = AgreementRates(redis)
    assert other_process.rate(*PAIR, 0.5) == pytest.approx(0.75)
    for agreement in (0.0, 0.5):
        other_process.count(*PAIR, agreement)
    assert rates.rate(*PAIR, 0.5) == pytest.approx((20 + 0.5 + 10) / 42)
    assert rates.rate("globex", *PAIR[1:], 0.5) == 0.5
    assert redis.ttl("fb:agreements:acme") > 86_400


def test_counts_wait_while_redis_does_not_answer(rates, redis, monkeypatch):
    working = redis.pipeline
    monkeypatch.setattr(redis, "pipeline", Mock(side_effect=redis_py.ConnectionError))
    rates.count(*PAIR, 1.0)
    monkeypatch.setattr(redis, "pipeline", working)
    rates.count(*PAIR, 1.0)
    assert rates.rate(*PAIR, 0.5) == pytest.approx((2 + 10) / 22)
    monkeypatch.setattr(redis, "hgetall", Mock(side_effect=redis_py.ConnectionError))
    assert rates.rate(*PAIR, 0.5) == pytest.approx((2 + 10) / 22)
    assert AgreementRates(redis).rate(*PAIR, 0.5) == 0.5


def test_what_another_program_wrote_counts_as_nothing(rates, redis):
    redis.hset("fb:agreements:acme", mapping={"generate small other n": "x", "y n": "nan"})
    assert rates.rate(*PAIR, 0.5) == 0.5


def test_pairs_beyond_the_limit_are_not_counted(rates, redis, monkeypatch):
    monkeypatch.setattr(agreement_rates, "MAX_PAIRS", 2)
    for second in ("a", "b", "c"):
        rates.count("acme", "generate", "small", second, 1.0)
    assert redis.hlen("fb:agreements:acme") == 4
