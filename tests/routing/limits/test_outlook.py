"""What is known of Bedrock when a decision is made, also while Redis is away."""

from unittest.mock import Mock

import pytest
import redis as redis_py

from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Job, Summarize
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.outlook import FrontierStatus
from forebay.routing.policy.policy_file import Policy

LEAVES = Job(tenant="acme", egress="allow", request=Summarize(text="It rains."))
STAYS = LEAVES.model_copy(update={"egress": "deny"})
RULES = Policy.model_validate({"defaults": {"daily_budget_usd": 1.0}})


@pytest.fixture
def outlook(redis, monkeypatch):
    for module in ("forebay.routing.limits.spillway", "forebay.routing.limits.outlook"):
        monkeypatch.setattr(f"{module}.LOOK_EVERY_S", 0)
    return FrontierStatus(redis)


@pytest.fixture
def gone(redis, monkeypatch):
    """Takes Redis away."""
    away = Mock(side_effect=redis_py.ConnectionError)
    return lambda: monkeypatch.setattr(redis.connection_pool, "get_connection", away)


def test_what_was_seen_last_holds_while_redis_is_away(redis, outlook, gone):
    no = {"tenant_budget_nusd": None, "fleet_budget_nusd": None}
    Budget(redis).reserve("call", LEAVES.id, "acme", 400_000_000, **no, term_s=60.0)
    seen = outlook.state(LEAVES, RULES)
    assert (seen.spillway, seen.budget_left_nusd) == ("shut", 600_000_000)
    gone()
    assert outlook.state(LEAVES, RULES) == seen


def test_nothing_is_made_up_where_nothing_was_seen(outlook, gone):
    gone()
    with pytest.raises(Unavailable):
        outlook.state(LEAVES, RULES)


def test_a_job_that_stays_needs_no_look(outlook, gone):
    gone()
    assert outlook.state(STAYS, RULES).spillway == "open"
