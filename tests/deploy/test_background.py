"""`make up` and `make down`: a fleet that stays up in the background."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from socket import create_server
from urllib.parse import urlsplit

import psutil
import pytest
import redis as redis_py

from local.background import FleetFolder
from local.fleet import ROOT, free_port
from patience import until

pytestmark = pytest.mark.slow

HOLDER = """
import sys, time
from pathlib import Path
from local.background import FleetFolder
print(FleetFolder(Path(sys.argv[1])).take(), flush=True)
time.sleep(60)
"""


DEPLOY = {**os.environ, "PYTHONPATH": str(ROOT / "deploy")}


@pytest.fixture
def holder(tmp_path):
    """Start another process that holds `tmp_path`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, env=DEPLOY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def run_background(verb, folder, **env):
    command = [sys.executable, "-m", "local.background", verb, "--folder", folder]
    return subprocess.run(
        command, env={**DEPLOY, **env}, capture_output=True, text=True, timeout=110, check=False
    )


def queues(flower):
    """Return the queues that Flower knows of before anybody has opened a page."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{flower}/api/queues/length", timeout=10) as response:
        return {queue["name"] for queue in json.loads(response.read())["active_queues"]}


def test_the_folder_knows_which_process_holds_the_fleet(tmp_path, holder):
    place = FleetFolder(tmp_path)
    assert place.holder() == holder.pid
    assert not place.take()


def test_a_killed_process_holds_nothing(tmp_path, holder):
    place = FleetFolder(tmp_path)
    holder.kill()
    holder.wait()
    assert place.holder() == 0
    assert place.take()


def test_down_without_a_fleet_says_so(tmp_path):
    done = run_background("down", tmp_path)
    assert (done.returncode, done.stdout) == (0, "No fleet is up.\n")


def test_the_ports_of_the_last_fleet_are_kept(tmp_path):
    assert FleetFolder(tmp_path).ports() == {"redis": 6379, "flower": 5555, "gateway": 8080}
    kept = {"redis": 40_001, "flower": 40_002, "gateway": 40_003}
    FleetFolder(tmp_path).keep_ports(kept)
    assert FleetFolder(tmp_path).ports() == kept


@pytest.mark.parametrize("kept", ["", "[]", "{", '{"redis": "x", "flower": -1}', '{"redis": true}'])
def test_ports_that_cannot_be_read_are_those_of_the_clients(tmp_path, kept):
    (tmp_path / "ports.json").write_text(kept)
    assert FleetFolder(tmp_path).ports() == {"redis": 6379, "flower": 5555, "gateway": 8080}


def test_up_shows_the_cause_first_and_no_line_of_an_earlier_start(tmp_path):
    (tmp_path / "logs").mkdir()
    for part in ("redis", "router1", "local1"):
        (tmp_path / "logs" / f"{part}.log").write_text("ValueError: of an earlier start\n" * 5)
    done = run_background("up", tmp_path, FOREBAY_ENGINE="nonsense")
    assert done.returncode == 1
    title, cause, *_ = done.stdout.splitlines()
    assert title == "The fleet did not start:"
    assert re.match(r"\w+1 ended with \d+: .*FOREBAY_ENGINE", cause), done.stdout
    assert "earlier start" not in done.stdout


def test_up_says_why_the_fleet_did_not_start(tmp_path):
    done = run_background("up", tmp_path, FOREBAY_BEDROCK="perhaps")
    assert done.returncode == 1
    assert "FOREBAY_BEDROCK: must be aws or mock" in done.stdout


def test_up_stays_until_down_and_keeps_the_jobs(tmp_path):
    (tmp_path / "fleet.json").write_text("left by a fleet that was killed")
    with create_server(("127.0.0.1", 0)) as taken:
        ports = {"redis": free_port(), "flower": taken.getsockname()[1], "gateway": free_port()}
        FleetFolder(tmp_path).keep_ports(ports)
        policy = tmp_path / "the policy.toml"
        policy.write_text("[fleet]\ndaily_budget_usd = 7\n")
        done = run_background(
            "up", tmp_path, FOREBAY_ENGINE="echo", AWS_ACCESS_KEY_ID="real",
            FOREBAY_POLICY_FILE=str(policy),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"Bedrock +the local mock", done.stdout)
    url = re.search(r"Redis +(\S+)", done.stdout)[1]
    assert urlsplit(url).port == ports["redis"], "exports in open shells stay good"
    exports = re.search(r"export .*", done.stdout)[0]
    status = subprocess.run(
        ["sh", "-c", f"{exports}; forebay status"], capture_output=True, text=True, check=True
    )
    assert "$7.00" in status.stdout, "the policy of the workers"
    gateway = re.search(r"Gateway +(\S+)", done.stdout)[1]
    assert urlsplit(gateway).port == ports["gateway"]
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{gateway}/readyz"):
        pass
    flower = re.search(r"Flower +(\S+)", done.stdout)[1]
    assert urlsplit(flower).port != ports["flower"]
    until(lambda: queues(flower) >= {"route", "local.default", "embed", "bedrock", "sweep"})
    holder = FleetFolder(tmp_path).holder()
    parts = psutil.Process(holder).children()
    again = run_background("up", tmp_path)
    assert again.stdout == "The fleet is up already.\n" + done.stdout
    with redis_py.Redis.from_url(url) as client:
        assert client.ping()
        for part in parts:  # the holder restarts a part that ends by itself
            if "router1@" in " ".join(part.cmdline()):
                part.send_signal(signal.SIGKILL)
    log = tmp_path / "logs" / "fleet.log"
    until(lambda: "router1 had ended and was restarted" in log.read_text(), 20)
    parts += psutil.Process(holder).children(recursive=True)
    assert "The fleet is down" in run_background("down", tmp_path).stdout
    _, alive = psutil.wait_procs(parts, timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert list((tmp_path / "redis").rglob("*.aof"))
    assert not (tmp_path / "fleet.json").exists()
    assert FleetFolder(tmp_path).ports() == ports | {"flower": urlsplit(flower).port}
