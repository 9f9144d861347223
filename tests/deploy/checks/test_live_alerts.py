"""A real Prometheus with our rules sees a real fleet break: alerts go pending, fire, resolve."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.request
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from checks import promtool
from forebay.producers.client import Client
from forebay.routing.jobs import Generate, Message
from forebay.routing.settings import Settings
from local.fleet import ROOT, Fleet, free_port
from patience import until

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(300)]

RULES = ROOT / "deploy" / "prometheus"
ACTORS = ("router", "local", "bedrock", "sweeper")
FIRES_S = 60.0  # for an alert to fire, or to resolve; a worker counts as gone after 10 s
LOOK_S = 0.2
ASK = Generate(messages=[Message(role="user", content="hello")])


class Watch:
    """Reads the alerts of a Prometheus all the time, and remembers the states of each."""

    def __init__(self, url: str) -> None:
        self.seen = defaultdict[str, list[str]](list)
        self.now: dict[str, str] = {}
        self._url, self._over = url, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            alerts = ask(f"{self._url}/api/v1/alerts")["data"]["alerts"]
            self.now = {alert["labels"]["alertname"]: alert["state"] for alert in alerts}
            for name in {*self.seen, *self.now}:
                state = self.now.get(name, "resolved")
                if self.seen[name][-1:] != [state]:
                    self.seen[name].append(state)

    def until_firing(self, *names: str) -> None:
        until(lambda: all(self.now.get(name) == "firing" for name in names), FIRES_S)

    def until_resolved(self, *names: str) -> None:
        until(lambda: not self.now.keys() & set(names), FIRES_S)

    def close(self) -> None:
        self._over.set()
        self._thread.join(timeout=10)


def ask(url: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data), timeout=10) as response:
        return json.loads(response.read() or b"{}")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    env = {"FOREBAY_SWEEP_S": "0.2", "FOREBAY_LEASE_S": "2", "FOREBAY_METRICS_HOST": "127.0.0.1"}
    with Fleet(tmp_path_factory.mktemp("live"), env) as fleet:
        fleet.start_redis()
        fleet.start("mock_bedrock")
        fleet.ports = {part: str(free_port()) for part in ACTORS}
        for part in ACTORS:
            engine = {"FOREBAY_ENGINE": "echo"} if part == "local" else {}
            fleet.start(part, FOREBAY_METRICS_PORT=fleet.ports[part], **engine)
        fleet.wait_ready()
        yield fleet


@pytest.fixture(scope="module")
def watch(fleet, tmp_path_factory):
    """Start Prometheus with the committed rules, but with two seconds in place of each `for`."""
    folder = tmp_path_factory.mktemp("prometheus")
    rules = (RULES / "alerts.yaml").read_text()
    assert rules.count("for: ") > 15
    (folder / "alerts.yaml").write_text(re.sub(r"for: \w+", "for: 2s", rules))
    config = yaml.safe_load((RULES / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = [f"127.0.0.1:{port}" for port in fleet.ports.values()]
    config["scrape_configs"] = [{"job_name": "forebay", "static_configs": [{"targets": targets}]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with running(folder) as url:
        watch = Watch(url)
        up = f"{url}/api/v1/query?query=sum(up)"
        until(lambda: value(ask(up)) == len(ACTORS), FIRES_S)
        until(lambda: not watch.now, FIRES_S)  # before its first scrape it knew of no sweeper
        watch.seen.clear()
        yield watch
        watch.close()


class running:  # noqa: N801 - a context manager that reads as a verb
    """Run a Prometheus in a folder as long as this block runs; its address is the value."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()

    def __enter__(self) -> str:
        command = [
            promtool.find("prometheus"), f"--config.file={self._folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self._folder / 'data'}", "--log.level=warn",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]  # fmt: skip
        self._log = (self._folder / "log").open("w")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        url = f"http://127.0.0.1:{self._port}"
        until(lambda: is_ready(url), 30)
        return url

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


def is_ready(url: str) -> bool:
    try:
        return bool(ask(f"{url}/api/v1/status/buildinfo"))
    except OSError:
        return False


def value(reply: dict) -> float:
    found = reply["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


@pytest.fixture(scope="module")
def client(fleet):
    with Client(settings=Settings(redis_url=fleet.url), tenant="acme") as client:
        yield client


def part(fleet, name):
    (proc,) = [proc for proc in fleet.procs if proc.name == f"{name}1"]
    return proc


def fired(watch, name) -> bool:
    """Return whether an alert was pending, then firing, and is resolved."""
    states = watch.seen[name]
    return states[:2] == ["pending", "firing"] and states[-1] == "resolved"


def test_a_killed_local_worker_fires_and_its_successor_resolves(fleet, watch, client):
    client.run(ASK, egress="deny")
    assert watch.now == {}  # a healthy fleet
    local = part(fleet, "local")
    fleet.kill(local)
    job_id = client.submit(ASK, egress="deny")
    watch.until_firing("ForebayTargetDown", "ForebayQueueUnserved")
    local.restart()
    client.result(job_id, timeout=60)
    watch.until_resolved("ForebayTargetDown", "ForebayQueueUnserved")
    assert fired(watch, "ForebayTargetDown")
    assert fired(watch, "ForebayQueueUnserved")


def test_a_killed_sweeper_fires_and_its_successor_resolves(fleet, watch):
    sweeper = part(fleet, "sweeper")
    fleet.kill(sweeper)
    watch.until_firing("ForebaySweeperGone")
    sweeper.restart()
    watch.until_resolved("ForebaySweeperGone", "ForebayTargetDown")
    assert fired(watch, "ForebaySweeperGone")


def test_a_fault_of_the_account_opens_the_breaker_and_a_probe_closes_it(fleet, watch, client):
    ask(f"{fleet.mock_url}/_mock/faults", {"rates": {"denied": 1.0}})
    first = client.submit(ASK, egress="allow", lane="bedrock")
    watch.until_firing("ForebayBreakerOpen")
    ask(f"{fleet.mock_url}/_mock/faults", {})
    client.result(first, timeout=60)  # its call is the probe
    watch.until_resolved("ForebayBreakerOpen")
    assert fired(watch, "ForebayBreakerOpen")
    assert watch.now == {}
