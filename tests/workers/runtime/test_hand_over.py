"""While one worker is told to stop, its jobs go to the others at once, without the sweeper."""

from __future__ import annotations

import signal
import time

import pytest
import redis

from forebay.producers.client import Client
from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.jobs import Job, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.runtime import drain
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.drain import DRAINED, WEDGED, Drain
from local.fleet import Fleet

pytestmark = pytest.mark.slow

JOBS = 12
PAUSE_S = 0.1  # between two jobs: in all longer than Celery's consumer waits for a doorbell
SOON_S = 1.0  # on a busy machine; a job without a doorbell would wait for ever
WAITED_S = 5.0
ENV = {"FOREBAY_GRACE_S": "20", "FOREBAY_ENGINE": "echo"}


def taken(client, job_id, part):
    """Return whether a worker of this part has taken the job."""
    status = client.status(job_id)
    return status.hop != part or status.state != "waiting"


@pytest.mark.parametrize(("part", "hop"), [("router", "route"), ("local", "local")])
def test_a_worker_that_is_told_to_stop_takes_no_doorbell_along(part, hop, tmp_path):
    with Fleet(tmp_path / "fleet", ENV) as fleet:  # and nobody who rings again for lost doorbells
        fleet.start_redis()
        first = fleet.start(part)
        fleet.wait_ready()  # so it is the first that Redis gives a doorbell to
        fleet.start(part)
        fleet.wait_ready()
        with Client(settings=Settings(redis_url=fleet.url)) as client:
            waits = []
            first.send(signal.SIGTERM)
            for number in range(JOBS):
                options = {"egress": "allow"} if part == "router" else {"lane": "local"}
                job_id = client.submit(Summarize(text=f"parcel {number}"), **options)
                began = time.monotonic()
                while not taken(client, job_id, hop) and time.monotonic() < began + WAITED_S:
                    time.sleep(0.01)
                waits.append(time.monotonic() - began)
                time.sleep(PAUSE_S)
    late = [round(wait, 2) for wait in waits if wait > SOON_S]
    assert late == [], f"jobs waited for {late} s"


def test_a_worker_that_stops_rings_for_jobs_whose_doorbell_was_lost(tmp_path):
    with Fleet(tmp_path / "fleet", ENV) as fleet:  # nobody else rings again
        fleet.start_redis()
        with Client(settings=Settings(redis_url=fleet.url)) as client:
            job_id = client.submit(Summarize(text="parcel"))
            with redis.Redis.from_url(fleet.url) as server:
                server.delete("route")
                worker = fleet.start("router")
                fleet.wait_ready()
                assert client.status(job_id).hop == "route"
                worker.send(signal.SIGTERM)
                assert worker.wait(30)
                assert server.llen("route") == 1


class Ended(BaseException):
    """Raised where the process would end."""


@pytest.mark.parametrize("exit_code", [DRAINED, WEDGED])
def test_a_worker_that_outlasts_its_grace_period_rings_for_others(redis, monkeypatch, exit_code):
    def end(code):
        raise Ended(code)

    monkeypatch.setattr(drain.os, "_exit", end)
    ledger, in_flight = Ledger(redis, Settings(), packaged_template()), InFlight(2)
    ledger.create([Job(request=Summarize(text="parcel")) for _ in range(2)])
    held = ledger.claim("route")
    redis.delete("route")  # Celery's consumer took the doorbells along
    stuck = Drain(ledger, in_flight, 0.0, lambda: None, lambda: ["route"])
    stuck.begin(exit_code)
    with in_flight.holding(held), pytest.raises(Ended):
        stuck._run()
    assert redis.llen("route") == 2, "one for the job that was given back, one for the other"
