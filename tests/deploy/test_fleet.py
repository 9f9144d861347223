"""The fleet on one machine: it starts, says when it is ready, and leaves no process behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
import redis as redis_py

from local.fleet import ROOT, Fleet, free_port
from local.process import OLD_LOGS, PartFailed, Process, stop
from patience import until

pytestmark = pytest.mark.slow

SUPERVISOR = """
import signal, sys, time
from pathlib import Path
from local.fleet import Fleet
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the caller of the tests may ignore it, as nohup does
with Fleet(Path(sys.argv[1])) as fleet:
    redis = fleet.start_redis()
    print(fleet.url, redis.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def supervisor(tmp_path):
    """Start a process with a fleet; yield the process, the fleet's URL and its server's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, tmp_path / "other"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "deploy")},
        stdout=subprocess.PIPE,
        text=True,
    )
    url, pid = process.stdout.readline().split()
    yield process, url, int(pid)
    process.kill()
    process.communicate()


def gone(pid, within_s=5.0):
    """Return whether the process has ended, even if it has not been reaped yet."""
    end = time.monotonic() + within_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_redis_is_durable_drops_nothing_and_listens_to_this_machine_only(fleet):
    fleet.start_redis()
    with redis_py.Redis.from_url(fleet.url) as client:
        config = client.config_get("*")
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["list-compress-depth"] == "1"
    assert int(config["maxmemory"]) > 0
    assert config["bind"] == "127.0.0.1"


def test_a_port_that_is_taken_between_choosing_and_binding_costs_another_try(fleet, monkeypatch):
    taken = socket.create_server(("127.0.0.1", 0))
    ports = iter([taken.getsockname()[1], free_port()])
    monkeypatch.setattr("local.fleet.free_port", lambda: next(ports))
    with taken:
        fleet.start_redis()
    with redis_py.Redis.from_url(fleet.url) as client:
        assert client.ping()
    assert len(fleet.procs) == 1


def test_options_of_redis_can_be_chosen(fleet):
    fleet.start_redis(appendfsync="always", maxmemory="10mb")
    with redis_py.Redis.from_url(fleet.url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        assert client.config_get("maxmemory") == {"maxmemory": str(10 * 1024**2)}


def test_no_other_user_can_read_the_folder(fleet):
    assert {path.stat().st_mode & 0o777 for path in (fleet.folder, *fleet.folder.iterdir())} == {
        0o700
    }


def test_a_fleet_in_the_same_folder_finds_the_data_of_the_last_one(fleet):
    for value in (None, b"kept"):
        fleet.start_redis()
        with redis_py.Redis.from_url(fleet.url) as client:
            assert client.get("key") == value
            client.set("key", "kept")
        fleet.stop()


def test_data_survives_a_kill_of_the_server(fleet):
    port = free_port()
    server = fleet.start_redis(port)
    with redis_py.Redis.from_url(fleet.url) as client:
        client.set("key", "kept")
        fleet.kill(server)
        assert not server.alive
        fleet.start_redis(port)
        assert client.get("key") == b"kept"


def test_a_part_that_ends_early_is_named_with_the_end_of_its_log(fleet, redis_url):
    taken = int(redis_url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(
        PartFailed, match=r"(?s)redis ended with 1: .*Failed listening.*redis\.log:.*in use"
    ):
        fleet.start_redis(taken)


def test_a_part_that_never_gets_ready_is_named(fleet, tmp_path):
    proc = Process("idle", ["sleep", "60"], env={}, log=tmp_path / "log", ready=lambda _: False)
    with pytest.raises(PartFailed, match=r"idle not ready after 0\.1 s"):
        proc.wait_ready(0.1)
    proc.kill_group()


def test_stop_ends_every_part_even_one_that_is_paused(fleet):
    server = fleet.start_redis()
    fleet.kill(server, signal.SIGSTOP)
    started = time.monotonic()
    fleet.stop()
    assert gone(server.pid, within_s=0)
    assert time.monotonic() - started < 5


def test_stop_kills_a_part_that_ignores_sigterm_and_the_children_that_it_left(tmp_path):
    script = "trap '' TERM; sleep 61 & echo $! ready; while :; do sleep 1; done"
    log = tmp_path / "log"
    proc = Process(
        "deaf", ["sh", "-c", script], env=dict(os.environ), log=log, ready=has_logged_ready
    )
    proc.wait_ready(5)
    child = int(log.read_text().split()[0])
    stop([proc], grace_s=0.1)
    assert gone(proc.pid, within_s=0)
    assert gone(child)


def test_a_log_that_is_too_large_is_rotated_while_its_process_writes_on(tmp_path):
    script = "echo ready; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done"
    log = tmp_path / "writer.log"
    proc = Process("writer", ["sh", "-c", script], env={}, log=log, ready=has_logged_ready)
    try:
        proc.wait_ready(5)
        for _ in range(OLD_LOGS + 2):
            until(lambda: log.stat().st_size > 200, 5)
            proc.rotate_log(max_bytes=200)
            assert log.stat().st_size < 200
        until(lambda: proc.logged(r"line \d+"), 5)
    finally:
        proc.kill_group()
    kept = sorted(path.name for path in tmp_path.glob("writer.log*"))
    assert kept == ["writer.log", *(f"writer.log.{number + 1}" for number in range(OLD_LOGS))]
    newest, older = ((tmp_path / f"writer.log.{number}").read_text() for number in (1, 2))
    last = [int(text.split()[-1]) for text in (older, newest, log.read_text())]
    assert last == sorted(last)


def test_a_small_log_is_left_alone(tmp_path):
    log = tmp_path / "small.log"
    proc = Process("small", ["echo", "ready"], env={}, log=log, ready=has_logged_ready)
    proc.wait_ready(5)
    proc.rotate_log()
    proc.kill_group()
    assert [path.name for path in tmp_path.iterdir()] == ["small.log"]


def has_logged_ready(proc):
    return bool(proc.logged("ready"))


def test_no_part_outlives_a_supervisor_that_was_killed(supervisor):
    process, _, server = supervisor
    process.kill()
    assert gone(server)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_supervisor_told_to_end_stops_its_parts_in_order(supervisor, tmp_path, sig):
    process, _, server = supervisor
    process.send_signal(sig)
    assert process.wait(10) != 0
    assert gone(server, within_s=0)
    assert "bye bye" in (tmp_path / "other" / "logs" / "redis.log").read_text()


def test_a_part_that_ended_by_itself_is_revived_but_not_a_part_that_was_killed(fleet):
    server = fleet.start_redis()
    assert fleet.revive() == []
    os.kill(server.pid, signal.SIGKILL)
    server.wait(5)
    assert fleet.revive() == [server]
    fleet.wait_ready(5)
    fleet.kill(server)
    assert fleet.revive() == []


def test_only_the_main_thread_starts_parts(fleet):
    errors = []

    def start():
        try:
            fleet.start_redis()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert errors == ["start parts in the main thread: a part dies with the thread that started it"]


def test_the_wanted_port_is_used_if_it_is_free(redis_url):
    taken = int(redis_url.rpartition(":")[2].partition("/")[0])
    assert free_port(taken) != taken
    wanted = free_port()
    assert free_port(wanted) == wanted


# --- the parts that are Python ------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Start the parts that need no model in an environment that has real credentials."""
    real = {"AWS_SECRET_ACCESS_KEY": "real", "AWS_PROFILE": "real", "FLOWER_ADDRESS": "0.0.0.0"}
    with pytest.MonkeyPatch.context() as patch, Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        for name, value in real.items():
            patch.setenv(name, value)
        fleet.start_redis()
        parts = ("mock_bedrock", "router", "sweeper", "sweeper", "flower", "bedrock")
        procs = {proc.name: proc for proc in map(fleet.start, parts)}
        fleet.wait_ready()
        yield fleet, procs


def environment(proc):
    """Return the environment of a running part. It is empty for a moment while the part execs."""
    pairs = until(lambda: Path(f"/proc/{proc.pid}/environ").read_text().strip("\0"), 5)
    return dict(pair.split("=", 1) for pair in pairs.split("\0"))


def get(url, **options):
    with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=5) as response:
        return response.read()


def test_each_part_has_a_name_and_a_log_of_its_own(running):
    fleet, procs = running
    assert set(procs) == {"mock_bedrock", "router1", "sweeper1", "sweeper2", "flower", "bedrock1"}
    assert {proc.log for proc in procs.values()} == {fleet.logs / f"{name}.log" for name in procs}


def test_no_part_gets_real_credentials_if_the_mock_runs(running):
    fleet, procs = running
    assert all("real" not in environment(proc).values() for proc in procs.values())
    assert environment(procs["bedrock1"])["FOREBAY_BEDROCK_ENDPOINT"] == fleet.mock_url


def test_only_the_bedrock_worker_gets_credentials_if_there_is_no_mock(fleet, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    fleet.start_redis()
    environments = {part: environment(fleet.start(part)) for part in ("router", "bedrock")}
    assert environments["bedrock"]["AWS_SECRET_ACCESS_KEY"] == "real"
    assert "AWS_SECRET_ACCESS_KEY" not in environments["router"]


def test_every_part_listens_to_this_machine_only(running):
    fleet, _ = running
    sockets = [c for p in fleet.procs for c in psutil.Process(p.pid).net_connections("inet")]
    listening = [c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"] * 3  # Redis, the mock, Flower


def test_flower_shows_the_workers_and_cannot_stop_them(running):
    fleet, _ = running
    names = {"router1", "sweeper1", "sweeper2", "bedrock1"}
    workers, shown, end = {}, set(), time.monotonic() + 20
    while shown != names:  # a worker that answers late is shown in the next round
        assert time.monotonic() < end, shown
        workers = json.loads(get(f"{fleet.flower_url}/api/workers?refresh=1"))
        shown = {name.partition("@")[0] for name in workers}
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(f"{fleet.flower_url}/api/worker/shutdown/{next(iter(workers))}", data=b"")


def test_a_worker_that_cannot_start_is_named(fleet):
    fleet.start_redis()
    fleet.start("router", FOREBAY_LEASE_S="never")
    with pytest.raises(
        PartFailed, match=r"router1 ended with 2: forebay: misconfigured: FOREBAY_LEASE_S"
    ):
        fleet.wait_ready()
