"""A tenant at work is moved to another fleet by a command that is killed before each of its steps.

Under way are a bulk with its shards, a batch of the gateway, calls of Bedrock with open
reservations, and a budget that is used up; a webhook and an API key go along.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack

import httpx2
import openai
import pytest
import redis as redis_py

from forebay.producers.client import Client
from forebay.routing.errors import BudgetExceeded
from forebay.routing.fleets.moving.draining import under_way
from forebay.routing.fleets.moving.state import STEPS
from forebay.routing.jobs import Generate, Message
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from local.fleet import Fleet
from patience import until
from receiver import receiving
from two_fleets import MAP

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(240)]

BUDGET_NUSD = 2_400_000  # of a day, for about a dozen calls
INPUT_NUSD, OUTPUT_NUSD = 800, 3_200  # for a token of the model (`routing/limits/prices.toml`)
POLICY = f"""
[defaults]
scan_secrets = false
models = ["amazon.nova-pro-v1:0"]
daily_budget_usd = {BUDGET_NUSD / 1e9}
"""
ROWS, LINES = 100, 20
ENGINE = {"FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": "8", "FOREBAY_LEASE_S": "3"}
BEDROCK_TIMEOUT_S = "4"  # longer than a busy machine takes
FOREBAY = [sys.executable, "-m", "forebay.producers.cli.main"]


class Command(subprocess.Popen):
    """A command that is killed at the end of its context, if it still runs."""

    def __exit__(self, *error):
        self.kill()
        super().__exit__(*error)


class Scene:
    """Two fleets of whole workers over one mock of Bedrock, and a gateway over both."""

    def __init__(self, folder, stack):
        self._stack = stack
        policy = folder / "policy.toml"
        policy.write_text(POLICY)
        self.map = folder / "fleets.toml"
        self.env = {
            "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_BEDROCK_TIMEOUT_S": BEDROCK_TIMEOUT_S,
            "FOREBAY_BEDROCK_CONCURRENCY": "2",
        }  # fmt: skip
        self.fleets = {
            name: stack.enter_context(Fleet(folder / name, self.env)) for name in ("west", "east")
        }
        west, east = self.fleets.values()
        for fleet in (west, east):
            fleet.start_redis()
        west.start("mock_bedrock")
        west.wait_ready()
        self.map.write_text(MAP.format(west=west.url, east=east.url))
        mock = {"FOREBAY_BEDROCK_ENDPOINT": west.mock_url, "AWS_ACCESS_KEY_ID": "mock",
                "AWS_SECRET_ACCESS_KEY": "mock", "FOREBAY_BEDROCK_REGION": "us-east-1"}  # fmt: skip
        for fleet in (west, east):
            for part in ("router", "local", "sweeper"):
                fleet.start(part, **ENGINE)
            fleet.start("bedrock", **mock, **ENGINE)
        west.start(
            "gateway", FOREBAY_FLEETS=str(self.map),
            FOREBAY_GATEWAY_WEBHOOK_NETWORKS='["127.0.0.0/8"]',
        )  # fmt: skip
        for fleet in (west, east):
            fleet.wait_ready()
        self.gateway_url, self.mock_url = west.gateway_url, west.mock_url
        self.redis = {
            name: stack.enter_context(redis_py.Redis.from_url(fleet.url))
            for name, fleet in self.fleets.items()
        }
        self.env |= {"FOREBAY_FLEETS": str(self.map), "FOREBAY_TENANT": "acme"}

    def forebay(self, *args, **options):
        """Start a command, which ends with the test."""
        env = os.environ | self.env
        return self._stack.enter_context(Command([*FOREBAY, *args], env=env, text=True, **options))

    def told(self, *args):
        """Run a command, and return its document."""
        command = self.forebay(*args, "--json", stdout=subprocess.PIPE)
        out, _ = command.communicate(timeout=60)
        assert command.returncode == 0
        return json.loads(out)

    def client(self):
        return Client(tenant="acme", settings=Settings(fleets=self.map), patience=60)

    def faults(self, *queued):
        """Have the next calls of Bedrock fail."""
        body = json.dumps(list(queued)).encode()
        with urllib.request.urlopen(f"{self.mock_url}/_mock/faults", body, timeout=10):
            pass

    def calls(self):
        """Return the calls that the mock of Bedrock saw."""
        with urllib.request.urlopen(f"{self.mock_url}/_mock/calls", timeout=10) as reply:
            return [call for call in json.load(reply) if call["operation"] == "converse"]


@pytest.fixture
def scene(tmp_path):
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


class Submitting:
    """Submits jobs for Bedrock and for here in turn, each under a key and twice, on a thread."""

    def __init__(self, scene):
        self._scene, self._stopped = scene, threading.Event()
        self.ids: dict[str, list[str]] = {}
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._stopped.set()
        self._thread.join()

    def _run(self):
        with self._scene.client() as client:
            number = 0
            while not self._stopped.wait(0.1):
                for again in (number, max(0, number - 5)):
                    self._submit(client, again)
                number += 1

    def _submit(self, client, number):
        up = {"lane": "local"} if number % 4 else {"egress": "allow", "lane": "bedrock"}
        text = f"The parcel number {number} came late."
        request = Generate(messages=[Message(role="user", content=text)], max_tokens=60)
        job = client.submit(request, idempotency_key=f"k{number}", **up)
        self.ids.setdefault(f"k{number}", []).append(str(job))


def killed_at(scene, step):
    """Start the move, and kill it when it says that it begins a step."""
    mover = scene.forebay("tenants", "move", "acme", "east", stderr=subprocess.PIPE)
    with mover:
        for line in mover.stderr:
            if re.search(rf"\b{STEPS.index(step)}/{len(STEPS) - 1} ", line):
                mover.kill()
    return mover.returncode


def asked(text):
    """Return a row of a bulk."""
    return {"kind": "generate", "messages": [{"role": "user", "content": text}], "max_tokens": 60}


def batch_lines():
    body = {"model": "auto", "messages": [{"role": "user", "content": "[[echo: delay=0.2]] Hi."}]}
    lines = ({"custom_id": str(n), "url": "/v1/chat/completions", "body": body}
             for n in range(LINES))  # fmt: skip
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def begin_batch(client):
    file = client.files.create(file=("a.jsonl", batch_lines()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    until(lambda: client.batches.retrieve(batch.id).status == "in_progress")
    return batch.id


def feed(bulk, first):
    """Hand so many rows to a bulk that reads its standard input."""
    for number in range(first, first + ROWS // 2):
        bulk.stdin.write(json.dumps(asked(f"[[echo: delay=0.2]] Row {number}.")) + "\n")
    bulk.stdin.flush()


def begin_bulk(scene, out):
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    bulk = scene.forebay("bulk", "run", "-", "--out", str(out), **options)
    feed(bulk, 0)
    until(lambda: under_way(scene.redis["west"], "acme").running)
    return bulk


def move(scene, bulk):
    """Kill the move before each step, and let it end; return the codes of the killed."""
    codes = []
    for step in STEPS[2:]:
        codes.append(killed_at(scene, step))
        if step == "drain":
            with bulk.stdin:
                feed(bulk, ROWS // 2)
    mover = scene.forebay("tenants", "move", "acme", "east")
    assert mover.wait(90) == 0
    return codes


def test_a_tenant_at_work_loses_nothing_and_pays_nothing_twice(scene, tmp_path):
    scopes = [word for scope in ("submit", "read", "admin") for word in ("--scope", scope)]
    secret = scene.told("keys", "create", "--tenant", "acme", *scopes)["key"]
    headers = {"authorization": f"Bearer {secret}"}
    with (
        receiving() as receiver,
        httpx2.Client(base_url=scene.gateway_url, headers=headers, timeout=30) as http,
        openai.OpenAI(base_url=f"{scene.gateway_url}/v1", api_key=secret) as openai_client,
    ):
        hook = http.post("/webhooks", json={"url": receiver.url}).json()
        scene.faults("hang:5", "slow:0.7", None, "slow:0.7")
        with Submitting(scene) as submitting:
            hung = until(lambda: [c for c in scene.calls() if c["took_s"] > 4])[0]["call_id"]
            job = Budget(scene.redis["west"]).find(hung).job_id
            scene.redis["west"].pexpire(f"fb:spend:job:{job}", 3_000)  # instead of a minute
            batch = begin_batch(openai_client)
            bulk = begin_bulk(scene, out := tmp_path / "out.jsonl")
            assert set(move(scene, bulk)) == {-signal.SIGKILL}
            time.sleep(1)
            submitting.stop()
        ends = ends_of(scene, submitting.ids)
        assert bulk.wait(90) == 0
        until(lambda: openai_client.batches.retrieve(batch).status == "completed")
        check_bulk(out)
        check_batch(openai_client, batch)
        check_money(scene, ends, hung)
        check_webhook(http, receiver, hook, ends, batch)
    check_place(scene)


def ends_of(scene, ids):
    """Return the receipt of each job, or the error of one that the budget has refused."""
    assert [each for each in ids.values() if len(set(each)) > 1] == []
    ends = {}
    with scene.client() as client:
        for own in ids.values():
            try:
                ends[own[0]] = client.result(own[0], timeout=60).receipt
            except BudgetExceeded as error:
                ends[own[0]] = error
    return ends


def check_bulk(out):
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["row"] for row in rows) == list(range(1, ROWS + 1))
    assert Counter(row["status"] for row in rows) == {"done": ROWS}


def check_batch(client, batch_id):
    done = client.batches.retrieve(batch_id)
    assert (done.request_counts.completed, done.request_counts.failed) == (LINES, 0)
    lines = client.files.content(done.output_file_id).text.splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == [str(n) for n in range(LINES)]


def billed(call):
    """Return what the mock billed for a call; 0 if it gave no answer."""
    return call["tokens_in"] * INPUT_NUSD + call["tokens_out"] * OUTPUT_NUSD


def check_money(scene, ends, hung):
    calls, paid = scene.calls(), Budget(scene.redis["east"])
    assert [call for call, n in Counter(c["call_id"] for c in calls).items() if n > 1] == []
    settled, reserved = paid.spent("acme")
    unknown = {call.call_id: call.reserved_nusd for call in paid.open()}
    assert hung in unknown
    assert reserved == sum(unknown.values())
    known = [call for call in calls if call["call_id"] not in unknown]
    assert settled == sum(map(billed, known))
    assert sum(map(billed, calls)) <= settled + reserved <= BUDGET_NUSD
    answered = [end for end in ends.values() if getattr(end, "lane", "") == "bedrock"]
    refused = [end for end in ends.values() if isinstance(end, BudgetExceeded)]
    assert len(answered) == len(known)
    assert refused  # or else the budget was no bound
    assert scene.redis["east"].exists(*(f"fb:answer:{end.id}" for end in answered)) == len(answered)


def check_webhook(http, receiver, hook, ends, batch):
    def told():
        return {json.loads(body)["data"]["id"] for _, body in list(receiver.got)}

    until(lambda: told() >= {*ends, batch}, within_s=30)
    for sent, body in receiver.got:
        openai.OpenAI(api_key="none").webhooks.unwrap(body, sent, secret=hook["secret"])
    assert [each["id"] for each in http.get("/webhooks").json()["webhooks"]] == [hook["id"]]


def check_place(scene):
    assert [key["tenant"] for key in scene.told("keys", "list", "--fleet", "east")] == ["acme"]
    assert scene.told("keys", "list", "--fleet", "west") == []
    left = {key.decode() for key in scene.redis["west"].keys("fb:*acme*")}
    assert {key for key in left if not key.startswith("fb:wake:")} == {"fb:moved:acme"}
