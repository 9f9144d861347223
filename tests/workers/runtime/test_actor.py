"""Actors as Celery workers: how they start, which jobs they find, how they end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from forebay.producers.client import Client
from forebay.routing.jobs import Generate, Job, Message, Summarize
from forebay.routing.limits.lanes.published_lanes import PublishedLanes
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.settings import Settings
from local.process import PartFailed
from patience import until

pytestmark = pytest.mark.slow


@pytest.fixture
def client(fleet):
    fleet.start_redis()
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        yield client


def test_jobs_submitted_while_all_workers_are_down_are_found_within_a_second(fleet, client):
    ids = [client.submit(Summarize(text=f"text {i}")) for i in range(20)]
    assert not client.status(ids[0]).served
    fleet.start("router")
    fleet.wait_ready()
    until(lambda: all(client.status(one).hop == "local" for one in ids), within_s=1.0)


def test_a_lost_doorbell_is_rung_again_by_the_sweeper(fleet, client):
    job_id = client.submit(Summarize(text="a text"))
    client._ledger.redis.delete("route")
    fleet.start("router")
    fleet.start("sweeper")
    fleet.wait_ready()
    until(lambda: client.status(job_id).hop == "local", within_s=5.0)


def test_a_worker_takes_express_doorbells_while_it_works_a_long_queue(fleet, client):
    ledger = client._ledger
    PublishedLanes(ledger.redis, PolicyFile(None)).publish()
    fleet.start("local", FOREBAY_ENGINE="echo")
    fleet.wait_ready()
    ask = Generate(messages=[Message(role="user", content="[[echo: say=ok]] hello")])
    for _ in range(30):
        ledger.create([Job(tenant="busy", request=ask) for _ in range(100)])
    ledger.redis.lpush("fb:express:local.default", "few")
    until(lambda: ledger.redis.llen("fb:express:local.default") == 0, within_s=10.0)


def test_a_worker_has_celerys_name_and_without_one_a_name_of_its_own(fleet, client):
    named = fleet.start("router")
    command = [sys.executable, "-m", "celery", "-A", "forebay.workers.sweeper", "worker"]
    ready = lambda proc: bool(proc.logged(" ready"))  # noqa: E731 - as in `Fleet`
    unnamed = fleet._run("sweeper", [*command, "--loglevel", "INFO"], {}, ready)
    fleet.wait_ready()
    host = socket.gethostname()
    for proc, queue, name in (
        (named, "route", f"router1@{host}"),
        (unnamed, "sweep", f"sweep-{unnamed.pid}@{host}"),
    ):
        until(lambda queue=queue: client._ledger.workers().get(queue), 10)
        assert client._ledger.workers()[queue] == [name]
        assert proc.logged(f"INFO {name} celery.apps.worker: {name} ready")


def test_a_worker_writes_a_heartbeat_and_withdraws_when_it_ends(fleet, client):
    job_id = client.submit(Summarize(text="a text"))
    worker = fleet.start("local", FOREBAY_ENGINE="echo")
    router = fleet.start("router")
    fleet.wait_ready()
    assert until(lambda: client.result(job_id, timeout=10), within_s=10).lane == "local"
    slow = Message(role="user", content="[[echo: delay=0.2]] one two three four five")
    running = client.submit(Generate(messages=[slow]))
    until(lambda: client.status(running).hop == "local", within_s=5)
    until(lambda: client.status(running).state == "running", within_s=5)
    assert client.status(running).served
    fleet.kill(worker, signal.SIGTERM)
    fleet.kill(router, signal.SIGTERM)
    assert client.status(running).state == "done"  # it finished its job
    assert not client.status(client.submit(Summarize(text="another"))).served


@pytest.mark.parametrize(
    ("part", "env", "words"),
    [
        ("router", {"FOREBAY_LEASE_S": "soon"}, ("misconfigured", "FOREBAY_LEASE_S")),
        ("router", {"FOREBAY_REDIS_URL": "http://x"}, ("misconfigured", "FOREBAY_REDIS_URL")),
        ("router", {"FOREBAY_POLICY_FILE": "/nowhere.toml"}, ("misconfigured", "/nowhere.toml")),
        ("local", {"FOREBAY_MODEL_FILE": "/nowhere.gguf"}, ("misconfigured", "FOREBAY_MODEL_FILE")),
        ("local", {"FOREBAY_ENGINE": "abacus"}, ("misconfigured", "FOREBAY_ENGINE")),
        ("local", {"FOREBAY_SECOND_ENGINE": "abacus"}, ("misconfigured", "FOREBAY_SECOND_ENGINE")),
        (
            "local",
            {"FOREBAY_SECOND_ENGINE": "llamacpp", "FOREBAY_SECOND_MODEL_FILE": "/nowhere.gguf"},
            ("misconfigured", "FOREBAY_SECOND_MODEL_FILE"),
        ),
        (
            "local",
            {"FOREBAY_SECOND_MODEL_FILE": "other.gguf"},
            ("misconfigured", "FOREBAY_SECOND_ENGINE", "FOREBAY_SECOND_MODEL_FILE"),
        ),
        (
            "local",
            {"FOREBAY_ENGINE": "echo", "FOREBAY_SECOND_ENGINE": "echo"},
            ("misconfigured", "FOREBAY_SECOND_ENGINE", "agree with itself"),
        ),
        ("router", {"FOREBAY_CONTENT_KEYS": "short"}, ("misconfigured", "FOREBAY_CONTENT_KEYS")),
        ("local", {"FOREBAY_CACHE_KEY": "short"}, ("misconfigured", "FOREBAY_CACHE_KEY")),
    ],
)
def test_a_worker_that_cannot_start_says_why_on_one_line(fleet, client, part, env, words):
    proc = fleet.start(part, **env)
    with pytest.raises(PartFailed) as caught:
        fleet.wait_ready(90)  # it ends long before
    log = proc.log.read_text()
    assert "Traceback" not in log
    assert all(word in log for word in words), log
    assert "ended with 2" in str(caught.value)


@pytest.mark.parametrize(
    ("shadow", "code", "words"),
    [
        ("raise ImportError('gone', name='boto3')", 2, ("misconfigured", "extra `bedrock`")),
        ("raise RuntimeError('a defect')", 1, ("RuntimeError at", "boto3.py:1")),
    ],
)
def test_a_worker_that_cannot_be_made_ends_and_serves_nothing(
    fleet, client, tmp_path, shadow, code, words
):
    (tmp_path / "boto3.py").write_text(shadow)
    proc = fleet.start("bedrock", PYTHONPATH=str(tmp_path))
    with pytest.raises(PartFailed) as caught:
        fleet.wait_ready(90)  # it ends long before
    log = proc.log.read_text()
    assert "Traceback" not in log
    assert all(word in log for word in words), log
    assert f"ended with {code}" in str(caught.value)
    assert not client._ledger.redis.exists("fb:serving:bedrock")


def run_python(program, **env):
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **env}
    )


def test_importing_a_worker_reads_no_settings_and_starts_nothing():
    modules = [f"forebay.workers.{name}" for name in ("router", "local", "bedrock", "sweeper")]
    program = (
        f"import {', '.join(modules)}\n"
        "from celery.signals import worker_init\n"
        "print(len(worker_init.receivers))"
    )
    done = run_python(program, FOREBAY_SLOTS="nonsense", FOREBAY_REDIS_URL="nonsense")
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


@pytest.mark.parametrize("name", ["router", "local", "bedrock", "sweeper"])
def test_a_worker_has_one_application(name):
    program = (
        f"import forebay.workers.{name} as worker\n"
        "print(worker.app is worker.app, hasattr(worker, 'nothing'))"
    )
    assert run_python(program).stdout.strip() == "True False"
