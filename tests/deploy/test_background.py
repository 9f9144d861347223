"""`make up` and `make down`: a fleet that stays up in the background."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import psutil
import pytest
import redis as redis_py

from local.background import FleetFolder
from local.fleet import ROOT
from patience import until

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


def test_up_says_why_the_fleet_did_not_start(tmp_path):
    done = run_background("up", tmp_path, FOREBAY_BEDROCK="perhaps")
    assert done.returncode == 1
    assert "FOREBAY_BEDROCK: must be aws or mock" in done.stdout


def test_up_stays_until_down_and_keeps_the_jobs(tmp_path):
    (tmp_path / "fleet.json").write_text("left by a fleet that was killed")
    done = run_background("up", tmp_path, FOREBAY_ENGINE="echo", AWS_ACCESS_KEY_ID="real")
    assert done.returncode == 0, done.stdout
    assert re.search(r"Bedrock +the local mock", done.stdout)
    url = re.search(r"Redis +(\S+)", done.stdout)[1]
    exports = re.search(r"export .*", done.stdout)[0]
    version = subprocess.run(
        ["sh", "-c", f"{exports}; forebay version"], capture_output=True, text=True, check=True
    )
    assert version.stdout
    flower = re.search(r"Flower +(\S+)", done.stdout)[1]
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
