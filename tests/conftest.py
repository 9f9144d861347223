"""What every test may ask for: a real Redis server, and an environment that is nobody's."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py
from hypothesis import settings

from local.fleet import Fleet

# Tests depend on nothing that the caller's shell has set, and have no real keys to spend; but on a
# GPU (tests/gpu/run.py) on what lies there: a model, and what was compiled.
kept = {"FOREBAY_MODEL_DIR", "FOREBAY_GPU", "FOREBAY_ATTENTION"} & os.environ.keys()
if "KEEP_FOREBAY_SETTINGS" not in os.environ:
    kept = set()
for name in list(os.environ):
    if name.startswith(("FOREBAY_", "AWS_", "CELERY_", "FLOWER_")) and name not in kept:
        del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}

# Started in the background a shell has it ignored, and children of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("forebay", derandomize=True, deadline=None, database=None)
settings.load_profile("forebay")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this test run's own. Where it cannot start the test fails, never skips."""
    with Fleet(tmp_path_factory.mktemp("redis")) as fleet:
        fleet.start_redis()
        yield fleet.url


@pytest.fixture
def redis(redis_url: str) -> Iterator[redis_py.Redis]:
    """A client of that server, which is empty."""
    with redis_py.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet of this test's own, with nothing started; what the test starts is stopped."""
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet
