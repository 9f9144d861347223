"""Fuzzing: no bad input kills a worker, hangs it, or is repeated in a message.

Each entry point gets some hundred inputs here; `make fuzz` puts in a hundred thousand.
"""

from __future__ import annotations

import base64
import json
import pickle
import random
import re
import subprocess
import sys
import time

import pytest
from tests.fuzz.entries import BELL, ROOT, Broken, Entries
from tests.fuzz.inputs import CANARY, Inputs
from tests.support.stopwatch import Spent, Stopwatch, within

from forebay.producers.cli.job_input import read_text
from forebay.producers.client import Client
from forebay.routing.broker.app import celery_app
from forebay.routing.broker.doorbell import template
from forebay.routing.errors import InvalidJob, UnknownJob
from forebay.routing.jobs import Extract, Generate, Job, Message, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from patience import until
from short_budget import shorten

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of `re`, about an odd pattern
]


@pytest.fixture
def entries(redis, redis_url, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    entries = Entries(redis, redis_url, tmp_path, seed=7)
    yield entries
    entries.close()


@pytest.mark.parametrize(
    ("entry", "inputs"),
    [
        ("parse", 1_500),
        ("submit", 300),
        ("ask", 300),
        ("worked", 300),
        ("formed", 60),
        ("answered", 200),
        ("record", 150),
        ("content", 100),
        ("files", 60),
        ("cli", 60),
    ],
)
def test_bad_input_gives_an_error_code_and_nothing_else(entries, entry, inputs, monkeypatch):
    shorten(monkeypatch)  # odd schemas and texts are stopped sooner than by a worker
    for _ in range(inputs):
        entries.put_in(entry)
    assert sum(entries.results.values()) == inputs
    assert len(entries.results) > 1 or entry in {"ask", "content", "cli"}, (
        "the inputs are all alike"
    )


def test_the_long_run_starts_from_its_own_file_and_counts_its_inputs():
    run = [sys.executable, str(ROOT / "tests/fuzz/run.py"), "--inputs", "20", "--only", "parse"]
    done = subprocess.run(run, capture_output=True, text=True, cwd="/", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "20 inputs, seed 1" in done.stdout


def look_each_second(watch, spent, seconds):
    """Return why an input is stopped while a process spends so much a second, or nothing."""
    total, why = Spent(0, 0), ""
    for second in range(seconds):
        spent[1] = total
        why = why or watch.exceeded(second)
        total = Spent(total.computed + spent["computes"], total.delayed + spent["waits"])
    return why


@pytest.mark.parametrize(
    ("computes", "waits", "why"),
    [
        (0.01, 0.99, ""),  # starved by others
        (0.4, 0.6, "computed for more than 22 s"),
        (0.0, 0.0, "did nothing for more than 15 s"),
    ],
)
def test_an_input_is_stopped_for_what_it_takes_not_for_what_others_take(computes, waits, why):
    spent = {"computes": computes, "waits": waits}
    watch = Stopwatch(22, 15, lambda: {1: spent[1]})
    assert look_each_second(watch, spent, 100) == why


def test_an_input_that_hangs_is_stopped():
    with pytest.raises(Broken, match="did nothing"), within(9, Broken, waited_s=0.5):
        time.sleep(60)
    with pytest.raises(Broken, match="computed"), within(0.3, Broken):
        re.fullmatch("(a|a)*b", "a" * 60)


def nested(levels: int) -> dict:
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(100),
        nested(2_000),
        {"type": "object", "title": "\ud800"},
        {"type": "object", "default": float("nan")},
        {"type": "object", "properties": {"a": {"pattern": "a{99999999999999999999}"}}},
    ],
    ids=["deep", "deeper", "lone surrogate", "NaN", "pattern"],
)
def test_a_schema_that_cannot_be_sent_is_refused(schema):
    with pytest.raises(InvalidJob) as caught:
        Extract(text="t", schema=schema)
    assert caught.value.field == "schema"


def test_a_schema_arrives_unchanged():
    job = Job(request=Extract(text="t", schema={**nested(20), "enum": [(1, 2), 10**30]}))
    assert Job.model_validate_json(job.model_dump_json(by_alias=True)) == job


def test_names_that_the_caller_chose_are_not_repeated():
    bad = {"type": "object", "properties": {CANARY: {"type": 7}}}
    for call in (
        lambda: Extract(text="t", schema=bad),
        lambda: Job(request=Summarize(text="t"), metadata={CANARY: 7}),
        lambda: Job(request=Summarize(text="t"), **{CANARY: 7}),
    ):
        with pytest.raises(InvalidJob) as caught:
            call()
        assert CANARY not in str(caught.value)


def test_a_pattern_that_cannot_be_compiled_is_refused():
    with pytest.raises(InvalidJob) as caught:
        Generate(messages=[Message(role="user", content="x")], regex="a{99999999999999999999}")
    assert caught.value.field == "regex"


@pytest.mark.parametrize("tail", ["\udcff", "*", "", "0" * 31, "0" * 32 + "\n", "0" * 33])
def test_a_malformed_id_is_an_unknown_job(redis, tail):
    client = Client(settings=Settings(), redis=redis)
    for method in (client.status, client.cancel, client.forget, client.future):
        with pytest.raises(UnknownJob):
            method(f"default.{tail}")


@pytest.mark.parametrize(
    "forged",
    [{"queue": "bedrock"}, {"queue": "no queue"}, {"state": "running"}, {"state": "odd"}],
    ids=str,
)
@pytest.mark.parametrize("running", [False, True])
def test_a_job_with_a_forged_record_still_ends(redis, forged, running):
    ledger = Ledger(redis, Settings(), BELL)
    (job_id,) = ledger.create([Job(request=Summarize(text="t"))])
    if running:
        ledger.claim("route")
    redis.hset(f"fb:job:{job_id}", mapping=forged)
    for _ in range(5):
        redis.zadd("fb:leases", {job_id: 1}, xx=True)
        ledger.sweep()
        ledger.claim("route")
        ledger.claim("bedrock")
    (result,) = ledger.results([job_id])
    assert result.error in {"invalid_job", "engine_died"}


def messages(good: bytes) -> list[bytes]:
    """Return messages that a queue's list might hold: garbage, and nearly valid doorbells."""
    inputs, dice = Inputs(3), random.Random(3)
    bad = [b"", b"\x00", b"null", b"[]", b"{}", b"7", b'"a"', b"{" * 5_000, bytes(range(256))]
    bell = json.loads(good)
    evil = base64.b64encode(pickle.dumps(print)).decode()
    kinds = ("application/x-python-serialize", "application/x-yaml", "text/plain", 7, None)
    bodies = ("", "not base64", base64.b64encode(b"[" * 5_000).decode(), "e30=" * 200_000)
    nearly = [{**bell, "content-type": kind, "body": evil} for kind in kinds]
    nearly += [{**bell, "body": body} for body in bodies]
    bad += [json.dumps(message).encode() for message in nearly]
    bad += [inputs.json(inputs.near(bell)) for _ in range(60)]
    bad += [inputs.broken(good) for _ in range(40)]
    dice.shuffle(bad)
    return bad


def test_a_worker_survives_any_message_on_its_list(fleet):
    fleet.start_redis()
    worker = fleet.start("router")
    fleet.wait_ready()
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        redis = client._ledger.redis
        bell = template(celery_app(client._ledger.settings))
        good = bell.replace("@QUEUE@", "route").replace("@TASK@", "route")
        for number, message in enumerate(messages(good.encode())):
            redis.lpush("route", message.replace(b"@RING@", b"route.odd%d" % number))
        job_id = client.submit(Summarize(text=CANARY))
        until(lambda: client.status(job_id).hop != "route" or not worker.alive, 30)
        assert redis.hlen("unacked") <= 1
    assert worker.alive


@pytest.mark.parametrize("name", ["\ud800", "a\x00b"])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(InvalidJob) as caught:
        read_text(name, option="--file")
    assert caught.value.field == f"--file {name.translate({0: '?', 0xD800: '?'})}"


@pytest.mark.parametrize("stdin", [b"\xff\x00", b"[" * 100_000, b'{"kind": "summarize"}'])
def test_a_command_line_in_its_own_process_fails_with_one_line(redis_url, stdin):
    done = subprocess.run(
        [sys.executable, "-m", "forebay.producers.cli.main", "submit"],
        input=stdin, capture_output=True, timeout=60, check=False, cwd=ROOT,
        env={"FOREBAY_REDIS_URL": redis_url, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
