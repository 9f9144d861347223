"""The Celery application reaches the same Redis as the ledger, whatever the URL."""

import pytest
import redis as redis_py

from forebay.producers.client import Client
from forebay.routing.broker.app import broker
from forebay.routing.jobs import Classify
from forebay.routing.settings import Settings
from local.fleet import Fleet

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("url", "spelling"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("rediss://h/0?ssl_ca_certs=/ca.pem", "rediss://h/0?ssl_ca_certs=/ca.pem"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("unix://u:p%40@/r.sock?db=1&client_name=a", "redis+socket://u:p%40@/r.sock?virtual_host=1&client_name=a"),
    ],
)  # fmt: skip
def test_kombu_gets_its_own_spelling_of_the_url(url, spelling):
    assert broker(Settings(redis_url=url)) == (spelling, {})


def test_a_job_is_answered_over_a_unix_socket_in_another_database(tmp_path, short_folder):
    url = f"unix://{short_folder}/redis.sock?db=3"
    with Fleet(tmp_path / "fleet", {"FOREBAY_REDIS_URL": url}) as fleet:
        fleet.start_redis(unixsocket=str(short_folder / "redis.sock"))
        for part in ("router", "local"):
            fleet.start(part, FOREBAY_ENGINE="echo")
        fleet.wait_ready()
        with Client(settings=Settings(redis_url=url)) as client:
            job = Classify(text="A parcel came wet.", labels=["mail", "bill"])
            assert client.run(job, timeout=30).lane == "local"
        with redis_py.Redis.from_url(fleet.url) as other:
            assert other.dbsize() == 0, "database 0 holds nothing of the fleet"
