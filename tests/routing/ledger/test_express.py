"""The express doorbell calls a busy worker for a tenant of whom no other job waits."""

from __future__ import annotations

import pytest
import redis as redis_py

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.upkeep import Newcomer
from forebay.routing.limits.lanes.published_lanes import PublishedLanes
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.settings import Settings
from ledger_jobs import BELL, SURE, job, put

QUEUE = "local.default"
EXPRESS = f"fb:express:{QUEUE}"


@pytest.fixture
def ledger(redis):
    """Return a ledger with a long queue, before which two doorbells stand."""
    PublishedLanes(redis, PolicyFile(None)).publish()
    ledger = Ledger(redis, Settings(), BELL)
    put(ledger, *(job("busy") for _ in range(5)))
    assert (redis.llen(QUEUE), redis.llen(EXPRESS)) == (2, 0)
    return ledger


def rung(redis) -> list[str]:
    return [name.decode() for name in redis.lrange(EXPRESS, 0, -1)][::-1]


def test_it_is_rung_for_the_first_job_of_a_tenant_and_for_none_that_waits_behind_it(ledger, redis):
    put(ledger, job("few"), job("few"))
    put(ledger, job("few"), job("busy"))
    assert rung(redis) == ["few"]
    assert redis.llen(QUEUE) == 2, "the other doorbells stay as they are"


def test_it_is_not_rung_if_no_other_job_waits(ledger, redis):
    assert len(ledger.claim_many(QUEUE, 5)) == 5
    put(ledger, job("few"))
    assert rung(redis) == []
    put(ledger, job("third"))
    assert rung(redis) == ["third"]


@pytest.mark.parametrize(
    "options", [{"priority": "bulk"}, {"egress": "allow"}, {"egress": "allow", "lane": "bedrock"}]
)
def test_it_is_rung_for_interactive_jobs_of_local_lanes_alone(ledger, redis, options):
    redis.lpush("bedrock", "1", "2")
    put(ledger, job("few", **options))
    assert redis.keys("fb:express:*") == []


def test_it_is_rung_for_a_job_that_the_router_sends_to_the_lane(ledger, redis):
    put(ledger, job("few", egress="allow"))
    ledger.route(ledger.claim("route"), QUEUE, "allow", "kept", SURE)
    assert rung(redis) == ["few"]


def test_no_more_are_rung_than_two(ledger, redis):
    put(ledger, job("few"), job("third"), job("fourth"))
    assert rung(redis) == ["few", "third"]


def test_a_worker_is_told_the_queue_and_the_tenant_in_the_order_of_the_jobs(ledger):
    put(ledger, job("few"), job("third"))
    queues = ["embed", QUEUE]
    assert ledger.newcomer(queues, 10) == Newcomer(QUEUE, "few")
    assert ledger.newcomer(queues, 10) == Newcomer(QUEUE, "third")
    assert ledger.newcomer(queues, 0.01) is None


def test_a_user_without_the_right_to_ring_it_moves_jobs_all_the_same(ledger, redis):
    redis.acl_setuser(
        "before", enabled=True, nopass=True, reset=True,
        commands=["+@all"], keys=["fb:[^e]*", "local.*", "route"],
    )  # fmt: skip
    try:
        options = redis.connection_pool.connection_kwargs | {"username": "before", "password": ""}
        pool = redis_py.ConnectionPool(redis.connection_pool.connection_class, **options)
        earlier = Ledger(redis_py.Redis(connection_pool=pool), Settings(), BELL)
        put(earlier, job("few"))
        assert rung(redis) == []
        assert redis.zcard(f"fb:waiting:{QUEUE}:interactive:few") == 1
        pool.disconnect()
    finally:
        redis.acl_deluser("before")
