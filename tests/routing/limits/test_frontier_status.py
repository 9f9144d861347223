"""The state of the frontier for a decision, also while Redis is away."""

from unittest.mock import Mock

import pytest
import redis as redis_py

from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Job, Summarize
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.policy_file import Policy

LEAVES = Job(tenant="acme", egress="allow", request=Summarize(text="It rains."))
STAYS = LEAVES.model_copy(update={"egress": "deny"})
RULES = Policy.model_validate({"defaults": {"daily_budget_usd": 1.0}})


@pytest.fixture
def frontier(redis, monkeypatch):
    for module in ("forebay.routing.limits.spillway", "forebay.routing.limits.frontier_status"):
        monkeypatch.setattr(f"{module}.LOOK_EVERY_S", 0)
    return FrontierStatus(redis)


@pytest.fixture
def lose_redis(redis, monkeypatch):
    """Break every connection to Redis when called."""
    away = Mock(side_effect=redis_py.ConnectionError)
    return lambda: monkeypatch.setattr(redis.connection_pool, "get_connection", away)


def test_the_last_state_is_returned_while_redis_is_away(redis, frontier, lose_redis):
    Budget(redis).reserve("call", LEAVES.id, "acme", 400_000_000, term_s=60.0)
    last = frontier.state(LEAVES, RULES)
    assert (last.spillway, last.budget_left_nusd) == ("shut", 600_000_000)
    lose_redis()
    assert frontier.state(LEAVES, RULES) == last


def test_without_a_last_state_and_without_redis_it_raises(frontier, lose_redis):
    lose_redis()
    with pytest.raises(Unavailable):
        frontier.state(LEAVES, RULES)


def test_redis_is_not_read_for_a_job_that_stays(frontier, lose_redis):
    lose_redis()
    assert frontier.state(STAYS, RULES).spillway == "open"


def test_the_spillway_may_be_shut_for_the_jobs_of_one_tenant(redis, frontier):
    redis.zadd("fb:serving:bedrock", {"worker": 2**50})
    Spillway(redis).shut("unavailable", 30, "acme")
    other = LEAVES.model_copy(update={"tenant": "beta"})
    assert [frontier.state(job, RULES).spillway for job in (LEAVES, other)] == ["shut", "open"]


def test_threads_that_decide_by_two_policies_keep_out_of_each_others_way(frontier, monkeypatch):
    other, left = Policy.model_validate({"defaults": {"daily_budget_usd": 2.0}}), frontier._left

    def meanwhile(*key):
        with monkeypatch.context() as patch:
            patch.setattr(frontier, "_left", left)
            assert frontier.state(LEAVES, other).budget_left_nusd == 2_000_000_000
        return left(*key)

    monkeypatch.setattr(frontier, "_left", meanwhile)
    assert frontier.state(LEAVES, RULES).budget_left_nusd == 1_000_000_000
