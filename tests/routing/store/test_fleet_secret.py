"""The secret of the fleet: one for all, and the operator's own if there is one."""

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.routing.settings import Settings
from forebay.routing.store.fleet_secret import SECRET_KEY, fleet_secret


def test_one_secret_is_made_and_kept(redis):
    made = fleet_secret(redis, Settings())
    assert len(made) == 32
    assert fleet_secret(redis, Settings()) == made == redis.get(SECRET_KEY)


def test_a_secret_from_the_settings_is_preferred_and_stays_out_of_redis(redis):
    own = Settings(cache_key="sixteen bytes or more")
    assert fleet_secret(redis, own) == b"sixteen bytes or more"
    assert redis.dbsize() == 0
    with pytest.raises(Misconfigured, match="FOREBAY_CACHE_KEY"):
        fleet_secret(redis, Settings(cache_key="short"))


def test_without_redis_there_is_no_secret():
    with Redis(port=1, retry=Retry(NoBackoff(), 0)) as nobody, pytest.raises(Unavailable):
        fleet_secret(nobody, Settings())
