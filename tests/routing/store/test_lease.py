"""A lease holds through a moment without Redis, and no longer than nobody else can have it."""

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from forebay.routing.store.lease import LEASE_S, Lease


@pytest.fixture
def lease(redis):
    lease = Lease(redis, "work")
    assert lease.hold()
    return lease


AWAY = redis_py.Redis(port=1, retry=Retry(NoBackoff(), 0))
REFUSED = {"username": "nobody", "password": "wrong"}


@pytest.mark.parametrize("how", ["away", "refused"])
def test_it_holds_without_redis_as_long_as_nobody_else_can_have_it(lease, redis_url, how):
    lease._redis = AWAY if how == "away" else redis_py.Redis.from_url(redis_url, **REFUSED)
    assert lease.still()
    lease._held_at -= LEASE_S / 2
    assert not lease.still()


def test_it_is_lost_to_another_process_at_once(lease, redis):
    lease.release()
    assert Lease(redis, "work").hold()
    assert not lease.still()
    lease._redis = AWAY
    assert not lease.still()
