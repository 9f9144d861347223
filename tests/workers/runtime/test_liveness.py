"""A worker that takes no jobs any more ends itself, and does not count as serving."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from forebay.producers.client import Client
from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Summarize
from forebay.routing.settings import Settings
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.liveness import Liveness, age_s
from forebay.workers.runtime.settings import ActorSettings
from local.fleet import PYTHON, ROOT, Fleet
from patience import until

pytestmark = pytest.mark.slow

#: Ways in which a router stops consuming while its process lives.
WEDGES = {
    "loop": "consumer.hub.call_later(1, time.sleep, 3600)",
    "deaf": "consumer.hub.call_later(1, deafen, consumer.task_consumer)",
}
BROKEN_THREAD = {"thread": "threading.Timer(0, broken).start()"}
MODULE = """
import threading, time
from celery.signals import worker_ready
from forebay.workers.router import app

def deafen(consumer):
    # stop consuming, unknown to whoever asks
    consumer.cancel()
    consumer.consuming_from = lambda queue: True

def broken():
    raise ValueError("CANARY")

@worker_ready.connect(weak=False)
def wedge(sender, **_):
    consumer = sender
    {how}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Fleet(tmp_path_factory.mktemp("liveness")) as fleet:
        fleet.start_redis()
        yield fleet


@pytest.fixture
def client(fleet):
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        yield client


def start_wedged(fleet, folder, how: str):
    (folder / f"wedged_{how}.py").write_text(MODULE.format(how=(WEDGES | BROKEN_THREAD)[how]))
    command = [PYTHON, "-m", "celery", "-A", f"wedged_{how}", "worker", "--hostname", f"{how}@%h"]
    env = {
        "PYTHONPATH": f"{folder}:{ROOT / 'src'}",
        "FOREBAY_WEDGED_S": "2",
        "FOREBAY_GRACE_S": "1",
        "FOREBAY_HEARTBEAT_FILE": str(folder / how),
    }
    command += ["--loglevel", "INFO", "--without-mingle", "--without-gossip"]
    return fleet._run("router", command, env, lambda proc: proc.logged("ready") is not None, how)


@pytest.mark.parametrize("how", WEDGES)
def test_a_wedged_worker_ends_and_another_worker_takes_its_jobs(fleet, client, tmp_path, how):
    wedged = start_wedged(fleet, tmp_path, how)
    wedged.wait_ready(60)
    time.sleep(1.5)
    job_id = client.submit(Summarize(text="a text"), egress="allow")  # the router has to decide
    assert wedged.wait(60), "is still there"
    assert wedged._popen.returncode == 75
    lines = [line for line in wedged.log.read_text().splitlines() if "wedged:" in line]
    assert len(lines) == 1
    assert client.status(job_id).hop == "route"
    assert not client.status(job_id).served
    assert age_s(tmp_path / how) > 2
    healthy = fleet.start("router")
    until(lambda: client.status(job_id).hop != "route")
    assert client.status(job_id).attempts == 0
    fleet.kill(healthy, signal.SIGTERM)


def test_a_worker_leaves_if_one_of_its_threads_ends_and_prints_no_content(fleet, tmp_path):
    half = start_wedged(fleet, tmp_path, "thread")
    assert half.wait(60), "is still there"
    assert half._popen.returncode == 75
    assert half.logged("wedged: the thread Thread-.* ended by ValueError at .*wedged_thread.py")
    assert not half.logged("CANARY")


def test_a_worker_can_be_probed_from_outside(tmp_path, fleet):
    beat = tmp_path / "beat"
    assert probe(beat) == (1, "never")
    router = fleet.start("router", FOREBAY_HEARTBEAT_FILE=str(beat))
    until(beat.exists, 60)
    assert probe(beat)[0] == 0
    fleet.kill(router)
    beat.write_text(f"{time.monotonic() - 16}\n")
    assert probe(beat)[0] == 1
    beat.write_text(f"{time.monotonic() + 1e6}\n")  # of before the last boot
    assert probe(beat) == (1, "never")


def probe(file) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "forebay.workers.runtime.liveness"],
        env={"FOREBAY_HEARTBEAT_FILE": str(file), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip()


class World:
    """A `Liveness` whose clock, doorbells and jobs in flight the test controls."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1000.0
        self.doorbells: int | None = 0  # `None` while Redis is away
        self.in_flight = InFlight(1)
        monkeypatch.setattr("forebay.workers.runtime.liveness.time.monotonic", lambda: self.now)
        self.steps = 0
        settings = ActorSettings(wedged_s=30)
        self.liveness = Liveness(
            settings, self.in_flight, self._waiting, self._wedged, lambda: self.steps, quiet_s=60
        )
        self.reasons: list[str] = []

    def _waiting(self) -> int:
        if self.doorbells is None:
            raise Unavailable("Redis cannot be reached")
        return self.doorbells

    def _wedged(self, reason: str) -> None:
        self.reasons.append(reason)

    def live(self, seconds: int, *, beating: bool = True, answering: bool = False) -> bool:
        """Return whether the worker is still well after so many seconds."""
        for _ in range(seconds):
            self.now += 1
            self.in_flight.doorbells += answering
            if beating:
                self.liveness.beat()
            self.liveness.check()
        return self.liveness.well


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_an_idle_worker_is_well(world):
    assert world.live(100)
    assert not world.reasons


def test_a_busy_worker_is_well_however_many_doorbells_wait(world):
    world.doorbells = 1000
    assert world.live(100, answering=True)
    world.in_flight.slots = 0
    for _ in range(5):
        assert world.live(50)
        world.in_flight.ended += 1
    for _ in range(5):
        assert world.live(50)
        world.steps += 1
    assert not world.reasons


def test_a_worker_that_is_full_of_jobs_without_progress_is_wedged(world):
    world.in_flight.slots = 0
    assert world.live(60)
    assert not world.live(29)
    assert not world.reasons
    world.live(5)
    assert world.reasons[0] == "no slot is free, and no job makes progress"


def test_jobs_that_wait_for_redis_are_not_stuck(world):
    world.in_flight.slots = 0
    world.doorbells = None
    assert world.live(1000)
    world.doorbells = 0
    assert world.live(50)
    assert not world.reasons


def test_waiting_for_redis_is_no_fault_but_staying_away_when_it_is_back_is(world):
    world.doorbells = None
    assert world.live(1000, beating=False)
    world.doorbells = 0
    assert not world.live(20, beating=False)
    assert not world.reasons
    world.live(15, beating=False)
    assert world.reasons[0] == "the consumer's loop stands still"


def test_doorbells_that_wait_while_a_slot_is_free_are_a_fault(world):
    world.doorbells = 1
    assert not world.live(10)
    assert world.live(1, answering=True)
    world.live(32)
    assert world.reasons[0] == "doorbells wait and none is taken"


def test_a_worker_that_took_long_to_start_is_not_taken_for_wedged(monkeypatch):
    in_flight, reasons = InFlight(1), []
    liveness = Liveness(ActorSettings(wedged_s=1), in_flight, lambda: 1, reasons.append)
    time.sleep(1.1)  # a model is loaded, and doorbells wait already
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    liveness.start()
    time.sleep(0.3)
    in_flight.closed = True
    assert not reasons


def test_a_file_that_cannot_be_written_is_named_once_until_it_can_be(tmp_path, caplog):
    file = tmp_path / "nope" / "beat"
    settings = ActorSettings(heartbeat_file=file)
    liveness = Liveness(settings, InFlight(1), lambda: 0, print)
    for _ in range(3):
        liveness.check()
    file.parent.mkdir()
    liveness.check()
    assert file.exists()
    file.unlink()
    file.parent.rmdir()
    liveness.check()
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"cannot write FOREBAY_HEARTBEAT_FILE {file}: No such file or directory"] * 2
