"""The release before this one and this one on one Redis, under load: nothing is lost."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import time
from contextlib import ExitStack

import pytest

import local.fleet
from forebay import Client
from forebay.routing.settings import Settings
from local.fleet import ROOT, Fleet
from previous_release import THIS, previous

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(400)]

RATE = 24.0  # jobs per second of each producer: so many that p99 is not one job alone
TOGETHER_S = 10.0
SHORT_S = 1.0  # a wait that a busy machine may cause by itself; a lost lease is 5 s
ACTORS = ("router", "local", "bedrock", "sweeper")
POLICY = (
    "[defaults]\nscan_secrets = false\ndaily_budget_usd = inf\n[fleet]\ndaily_budget_usd = inf\n"
)
READ = """
import sys
from forebay import Client
with Client(tenant="load") as client:
    print(sum(client.result(id, timeout=5).content is not None for id in sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Lay out the release before this one."""
    return previous(tmp_path_factory.mktemp("previous"))


@pytest.fixture
def mixed(tmp_path, before):
    """Return a fleet with Redis and the mock, whose actors can be of either release."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    env = {
        "FOREBAY_ENGINE": "echo", "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_GRACE_S": "5",
        "FOREBAY_LEASE_S": "5",
    }  # fmt: skip
    with Mixed(tmp_path / "fleet", env) as fleet:
        fleet.start_redis()
        fleet.start("mock_bedrock")
        yield fleet


class Mixed(Fleet):
    """A fleet whose actors can be of either release."""

    def start_of(self, release, part):
        """Start an actor of a release."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local.fleet, "PYTHON", str(release.python))
            return self.start(part, **release.env)

    def produce(self, release):
        """Start a producer of a release; return it once it has begun."""
        words = [release.python, ROOT / "tests" / "support" / "steady_load.py"]
        words += ["--rate", str(RATE)]
        env = {"PATH": "/usr/bin:/bin", "FOREBAY_REDIS_URL": self.url, **release.env}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        producer = subprocess.Popen(words, env=env, text=True, **pipes)
        assert json.loads(producer.stdout.readline()) == {"began": True}
        return producer


def fates(producer):
    """Stop a producer; return what became of its jobs, once all have ended."""
    lines, _ = producer.communicate(timeout=200)
    assert producer.returncode == 0
    return json.loads(lines)


def none_lost(jobs):
    assert [job for job in jobs if "failed" in job] == []
    assert {job["lane"] for job in jobs} == {"local", "bedrock"}


def waits(jobs):
    """Return how long jobs waited: those of the undisturbed time, and those after it."""
    undisturbed = int(RATE * TOGETHER_S)
    seconds = [job["waited_s"] for job in jobs if "waited_s" in job]
    return seconds[:undisturbed], seconds[undisturbed:]


def p99(halves):
    """Return the time within which 99 % of the jobs of all producers were claimed."""
    return statistics.quantiles([wait for half in halves for wait in half], n=100)[-1]


def read_by(fleet, release, jobs):
    """Return how many of the answers a client of a release can read."""
    ids = [job["id"] for job in jobs]
    env = {"PATH": "/usr/bin:/bin", "FOREBAY_REDIS_URL": fleet.url, **release.env}
    done = subprocess.run(
        [release.python, "-c", READ, *ids], env=env, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_the_release_before_runs_its_own_tree(before):
    where = "import forebay.routing.jobs as jobs; print(jobs.__file__)"
    done = subprocess.run(
        [before.python, "-c", where], env=before.env, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(before.folder))


def test_producers_and_workers_of_both_releases_share_one_redis(mixed, before):
    for release in (before, THIS):
        for part in ACTORS:
            mixed.start_of(release, part)
    mixed.wait_ready()
    with ExitStack() as stack:
        producers = [stack.enter_context(mixed.produce(release)) for release in (before, THIS)]
        time.sleep(TOGETHER_S)
        old, new = (fates(producer) for producer in producers)
    none_lost(old)
    none_lost(new)
    assert read_by(mixed, before, new) == len(new)
    assert read_by(mixed, THIS, old) == len(old)


@pytest.mark.parametrize("way", ["up", "back"])
def test_every_actor_is_replaced_under_load_and_nothing_is_lost(way, mixed, before):
    first, then = (before, THIS) if way == "up" else (THIS, before)
    running = [(part, mixed.start_of(first, part)) for part in ACTORS]
    mixed.wait_ready()
    with mixed.produce(before) as old, mixed.produce(THIS) as new:
        time.sleep(TOGETHER_S)
        for part, process in running:
            mixed.start_of(then, part)
            mixed.wait_ready()
            mixed.kill(process, signal.SIGTERM)
        both = fates(old), fates(new)
    for jobs in both:
        none_lost(jobs)
    undisturbed, replaced = (p99(each) for each in zip(*map(waits, both), strict=True))
    rose = f"p99 wait: {undisturbed:.3f} s undisturbed, {replaced:.3f} s while actors are replaced"
    assert replaced < 2 * max(undisturbed, SHORT_S), rose
    with Client(tenant="load", settings=Settings(redis_url=mixed.url)) as client:
        assert not client.dead()
