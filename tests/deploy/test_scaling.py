"""A worker that comes or goes under load changes the throughput at once, and nothing is lost."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from forebay import Client, Generate, Message
from forebay.routing.settings import Settings
from local.fleet import Fleet

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]

SLOTS = 4
WORDS = 10  # of an answer
WORD_S = 0.1
WORKERS_RATE = SLOTS / (WORDS * WORD_S)  # jobs per second that one worker can end
JOBS = 800
FOLLOWS_S = 10.0  # within which the throughput follows
MEASURED_S = 8.0
SAY = " ".join(f"word{number}" for number in range(WORDS))
POLICY = "[defaults.second_opinion]\ngenerate = 0.0\n"


class Endings:
    """Notes when each job ended, on a thread of its own."""

    def __init__(self, client, handles) -> None:
        self.ended: list[float] = []
        self.failed: list[object] = []
        self._thread = threading.Thread(target=self._read, args=(client, handles), daemon=True)
        self._thread.start()

    def _read(self, client, handles) -> None:
        for done in client.as_completed(handles, timeout=300):
            self.ended.append(time.monotonic())
            if isinstance(done.answer, Exception):
                self.failed.append(done.answer)

    def rate(self) -> float:
        """Return the jobs per second that end, measured from now on."""
        before = len(self.ended)
        time.sleep(MEASURED_S)
        return (len(self.ended) - before) / MEASURED_S

    def wait(self) -> None:
        self._thread.join(timeout=300)


@pytest.fixture
def busy(tmp_path):
    """Return a fleet with two local workers."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    env = {
        "FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": str(SLOTS), "FOREBAY_ECHO_DELAY_S": str(WORD_S),
        "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_GRACE_S": "5",
    }  # fmt: skip
    with Fleet(tmp_path / "fleet", env) as fleet:
        fleet.start_redis()
        for part in ("router", "sweeper", "local", "local"):
            fleet.start(part)
        fleet.wait_ready()
        yield fleet


def test_the_throughput_follows_the_workers(busy):
    request = Generate(messages=[Message(role="user", content=f"[[echo: say={SAY}]]")])
    with Client(tenant="load", settings=Settings(redis_url=busy.url)) as client:
        handles = list(client.submit_all((request for _ in range(JOBS)), lane="local"))
        endings = Endings(client, handles)
        time.sleep(3.0)
        two = endings.rate()
        third = busy.start("local")
        busy.wait_ready()
        time.sleep(FOLLOWS_S - MEASURED_S)
        three = endings.rate()
        busy.kill(third, signal.SIGTERM)
        again = endings.rate()
        assert len(endings.ended) < JOBS, "there was load to the end of the measurement"
        endings.wait()
        assert (len(endings.ended), endings.failed) == (JOBS, [])
        assert client.dead() == []
    rates = f"jobs/s with two, three and two workers: {two:.1f}, {three:.1f}, {again:.1f}"
    assert three > 1.25 * two, rates
    assert again < 0.85 * three, rates
