"""What a real fleet shows of itself: the documented metrics, JSON lines, one name a worker."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request

import pytest
import redis as redis_py

from forebay.producers.client import Client
from forebay.routing.bedrock_batches.groups import WaitingGroups
from forebay.routing.errors import ForebayError
from forebay.routing.fleets.moving import state
from forebay.routing.jobs import Classify, Extract, Generate, Label, Message, Summarize
from forebay.routing.limits.pauses import Pauses
from forebay.routing.settings import Settings
from local.fleet import ROOT, Fleet
from patience import until

pytestmark = pytest.mark.slow

CANARY = "kanarie"
ACTORS = ("router", "local", "bedrock", "sweeper")
POLICY = """
[defaults]
thresholds.summarize = 0.0
thresholds.generate = 0.0
[defaults.second_opinion]
generate = 1.0
deny_too = true
[defaults.pace]
share = 0.3
"""
ROW = re.compile(r"^\| `(forebay_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
TABLE = ROW.findall((ROOT / "docs" / "metrics.md").read_text())
#: Samples of libraries that stand beside ours.
LIBRARY = re.compile(r"^(process_|python_)")


def ask(text, **options) -> Generate:
    return Generate(messages=[Message(role="user", content=f"{CANARY} {text}")], **options)


def requests():
    schema = {"type": "object", "properties": {f"{CANARY}-field": {"type": "number"}}}
    yield Classify(text=CANARY, labels=[Label(name=f"{CANARY}-{i}") for i in range(2)])
    yield Extract(text=f"{CANARY} 17", schema=schema)
    yield Summarize(text=f"[[echo: say=the total is 99,123]] {CANARY}")
    yield ask("hello")
    yield ask("[[echo: say=]]")
    yield ask("word " * 5_000)
    yield ask("The bill. [[echo: say=10]] [[echo: warm=9]]")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Run jobs that end in all ways; return metrics, log lines and names by worker."""
    folder = tmp_path_factory.mktemp("shown")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    env = {
        "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_LEASE_S": "2", "FOREBAY_LOG": "json",
        "FOREBAY_METRICS_PORT": "0", "FOREBAY_SWEEP_S": "0.2",
        "FOREBAY_MAX_ATTEMPTS": "2",
    }  # fmt: skip
    with Fleet(folder, env) as fleet:
        fleet.start_redis()
        for part in ("mock_bedrock", "router", "sweeper", "bedrock"):
            fleet.start(part)
        fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_SLOTS="4")
        fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
        fleet.wait_ready()
        with Client(settings=Settings(redis_url=fleet.url), tenant="acme") as client:
            lose_a_worker(fleet, client)
            wait(client.submit_future(ask("[[echo: fail]]")))  # is tried again, and dies
            for egress in ("allow", "deny"):
                for future in [
                    client.submit_future(request, egress=egress, cache=True)
                    for request in requests()
                ]:
                    wait(future)
                wait(client.submit_future(ask("hello"), egress=egress, cache=True))
            hold_back(client._ledger.redis)
            client.submit(ask("[[echo: delay=0.2]] one two three four five six seven eight"))
            scrapes = {part: scrape(fleet, part) for part in ACTORS}
            scrapes["gateway"] = scrape_gateway(fleet)
        served = names(fleet.url)
        fleet.stop()
        logs = {part: lines(fleet, part) for part in ACTORS}
        texts = {part: text(fleet, part) for part in (*ACTORS, "gateway")}
    return {"scrapes": scrapes, "logs": logs, "texts": texts, "served": served}


def wait(future) -> None:
    try:
        future.result(60)
    except ForebayError:
        return


def hold_back(redis) -> None:
    """Pause a tenant, begin a move of another, and have a job wait for a batch of a model."""
    Pauses(redis).pause("tenant:nobody")
    state.write(redis, "nobody", state.begin("west", "east"))
    redis.sadd("fb:bedrock:groups", "nobody m")
    redis.zadd("fb:bedrock:group:nobody m", {"nobody.1": time.time() * 1000})
    WaitingGroups(redis).rest("m", 600, "refused")


def lose_a_worker(fleet, client) -> None:
    """Kill the local worker while it works a job, which its successor ends."""
    slow = client.submit(ask("[[echo: delay=0.3]] one two three four five six"))
    until(lambda: (client.status(slow).hop, client.status(slow).state) == ("local", "running"), 20)
    (local,) = [proc for proc in fleet.procs if proc.name == "local1"]
    local.send(signal.SIGKILL)
    local.wait(10)
    local.restart()
    local.wait_ready(60)
    client.result(slow, timeout=60)


def text(fleet, part) -> str:
    return "".join(path.read_text() for path in fleet.logs.glob(f"{part}*.log"))


def lines(fleet, part) -> list[dict]:
    return [json.loads(line) for line in text(fleet, part).splitlines() if line.startswith("{")]


def scrape(fleet, part) -> str:
    address = [line for line in lines(fleet, part) if line["event"] == "metrics.ready"][-1]
    return read(address["message"].removeprefix("metrics at "))


def scrape_gateway(fleet) -> str:
    """Return the gateway's figures after a request."""
    chat = {"model": "auto", "messages": [{"role": "user", "content": CANARY}]}
    read(f"{fleet.gateway_url}/v1/chat/completions", json.dumps(chat).encode())
    return read(f"{fleet.gateway_url}/metrics")


def read(url, body=None) -> str:
    headers = {"content-type": "application/json", "authorization": "Bearer x"}
    request = urllib.request.Request(url, body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        return response.read().decode()


def names(url) -> set[str]:
    with redis_py.Redis.from_url(url) as client:
        keys = client.keys("fb:serving:*")
        return {name.decode() for key in keys for name in client.zrange(key, 0, -1)}


def families(text) -> dict[str, str]:
    """Return the metrics of a scrape that have a value, and their types."""
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    valued = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line[:1] not in {"#", ""}}
    return {
        name: kind for name, kind in kinds.items()
        if any(value.startswith(name) for value in valued) and not LIBRARY.match(name)
        and not name.endswith("_created")
    }  # fmt: skip


def test_the_table_of_metrics_is_what_a_real_fleet_serves(shown):
    served = {}
    for text in shown["scrapes"].values():
        served |= families(text)
    assert served == {name: kind for name, kind, _ in TABLE}


def test_labels_are_those_of_the_table(shown):
    labels = {name: set(re.findall(r"`(\w+)`", words)) for name, _, words in TABLE}
    for text in shown["scrapes"].values():
        for sample, found in re.findall(r"^(forebay_\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
            name = sample if sample in labels else re.sub(r"_(bucket|count|sum)$", "", sample)
            if not name.endswith("_created"):
                assert set(re.findall(r'(\w+)="', found)) - {"le"} == labels[name], name


def test_nothing_that_is_shown_holds_content(shown):
    assert [part for part, text in shown["scrapes"].items() if CANARY in text] == []
    assert [part for part, log in shown["logs"].items() if CANARY in json.dumps(log)] == []


def test_every_line_carries_the_workers_one_name_and_a_known_event(shown):
    for part, log in shown["logs"].items():
        assert len(log) > 3
        (name,) = {line["worker"] for line in log}
        assert name.startswith(f"{part}1@")
        assert name in shown["served"]
    assert len(shown["served"]) == len(ACTORS)


def test_every_line_is_json_with_its_time_and_its_event(shown):
    """From the start to the end of each process, lines of Celery and uvicorn among them."""
    for part, written in shown["texts"].items():
        told = [json.loads(line) for line in written.splitlines()]
        assert told, part
        assert all({"time", "level", "event", "message"} <= line.keys() for line in told)


def test_dead_jobs_and_recovered_leases_are_warnings_about_the_job(shown):
    told = [line for log in shown["logs"].values() for line in log]
    dead = [line for line in told if line["event"] == "job.dead"]
    assert dead
    for line in dead:
        assert line["level"] == "WARNING"
        assert (line["tenant"], line["lane"] in {"local", "bedrock"}) == ("acme", True)
        assert line["code"] in line["message"]
    recovered = [line for line in shown["logs"]["sweeper"] if line["event"] == "lease.recovered"]
    assert [line["level"] for line in recovered][:1] == ["WARNING"]
    assert recovered[0]["job"].startswith("acme.")


def test_no_line_says_of_a_doorbell_that_it_succeeded(shown):
    told = [line["message"] for log in shown["logs"].values() for line in log]
    assert [message for message in told if "succeeded" in message] == []
