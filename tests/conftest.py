"""Fixtures of all tests: a real Redis server, a fleet, no settings of the user."""

import functools
import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis as redis_py
from hypothesis import settings

from file_marks import excluded_by, in_a_folder_of_fleets, marks_of_file
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy import policy_file
from forebay.routing.settings import Settings
from ledger_jobs import BELL
from local.fleet import Fleet

# Tests do not depend on the caller's settings and have no real credentials. On a GPU machine
# (tests/gpu/run.py) they use the model and the compiled extensions that are there.
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
    "NO_PROXY": "127.0.0.1,localhost",  # the tests' servers are not behind the caller's proxy
    "no_proxy": "127.0.0.1,localhost",
    # Its threads wait actively for each other, which takes ten times as long on a busy machine.
    "OPENBLAS_NUM_THREADS": "1",
}
os.umask(0o022)  # tests look at the modes of files

# A background shell ignores SIGINT, and the tests' children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("forebay", derandomize=True, deadline=None, database=None)
settings.load_profile("forebay")


pytest_plugins = ["two_fleets"]  # its fixtures


@pytest.hookimpl(optionalhook=True)  # a GPU machine has no xdist
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes of `-n auto`: tests wait for a third of their time."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log) -> object | None:
    """Have `--dist loadfile` give files that share a fleet to one process."""
    if config.getoption("dist") != "loadfile":
        return None
    from sharing import FleetScheduling  # noqa: PLC0415 - a GPU machine has no xdist

    return FleetScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without the garbage collector, which then leaves out what is kept to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, unread, each file whose tests are all deselected by a mark of the whole file.

    To import such files and to make their tests took half of the time of collecting.
    """
    if collection_path.suffix != ".py":
        return None
    return True if excluded_by(config.option.markexpr) & marks_of_file(collection_path) else None


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a test after its argument where the value is bytes: packed files hold the time.

    The processes of one run must collect the same names, and each imports the tests anew.
    """
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)  # before pytest selects tests by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests of fleets, and the properties that run a hundred times.

    The coverage of a property is shown by examples too, and measuring it doubles its time.
    """
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("no_cover")
        if in_a_folder_of_fleets(item.path) and item.get_closest_marker("slow"):
            item.add_marker("fleets")


@pytest.fixture(scope="session", autouse=True)
def policies_apply_at_once() -> None:
    """Have this process see a new policy file at its next job; workers see it within moments."""
    policy_file.PolicyFile.look_every_s = 0.0


@pytest.fixture(scope="session", autouse=True)
def descriptions_of_aws_are_parsed_once() -> Iterator[None]:
    """Keep what botocore reads of megabytes of JSON for each session: tests open hundreds."""
    if find_spec("botocore") is None:  # on a GPU machine
        yield
        return
    from botocore.loaders import JSONFileLoader  # noqa: PLC0415 - it is there

    parsed = functools.cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: parsed(path))
        yield


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Redis server for this test run. If it cannot start, the tests fail."""
    with Fleet(tmp_path_factory.mktemp("redis")) as fleet:
        fleet.start_redis()
        yield fleet.url


@pytest.fixture
def redis(redis_url: str) -> Iterator[redis_py.Redis]:
    """Return a client of an empty Redis."""
    with redis_py.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def ledger(redis: redis_py.Redis) -> Ledger:
    """Return the ledger of that Redis, with the settings of a fleet that sets none."""
    return Ledger(redis, Settings(), BELL)


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """Return a folder for Unix sockets, whose paths have at most 107 bytes: TMPDIR may be long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Return a fleet with nothing started; stop what the test has started."""
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet
