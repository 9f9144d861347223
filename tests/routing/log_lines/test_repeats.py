"""A fault that lasts is told once, then once a minute with a count; single jobs are told all."""

from __future__ import annotations

import io
import logging

import pytest

from forebay.producers import wakeups
from forebay.routing.errors import Unavailable
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.log_lines import repeats
from forebay.routing.log_lines.line_formats import TextLines
from forebay.routing.log_lines.line_handler import LineHandler
from forebay.routing.logs import Event, event
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.heartbeat import Heartbeat

AWAY = Unavailable("Redis cannot be reached")


@pytest.fixture
def lines():
    """Return what our handler writes of all loggers."""
    stream = io.StringIO()
    handler = LineHandler(stream)
    handler.setFormatter(TextLines())
    logging.getLogger().addHandler(handler)
    yield lambda: stream.getvalue().splitlines()
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def clock(monkeypatch):
    """Return what sets the time of the repeats."""
    now = [1000.0]
    monkeypatch.setattr(repeats.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 1000.0 + seconds)


def warn(words, *args, name="forebay.test", **about):
    logging.getLogger(name).warning(words, *args, **about)


def test_a_fault_is_told_once_and_then_once_a_minute_with_a_count(lines, clock):
    for second in range(125):
        clock(second)
        warn("cannot sweep: %s", AWAY, extra=event(Event.SWEEP_FAILED))
    told = lines()
    assert len(told) == 3
    assert told[0].endswith("cannot sweep: Redis cannot be reached")
    assert all("(59 more since " in line and line.endswith(" UTC)") for line in told[1:])


def test_two_lines_about_one_fault_are_one(lines):
    warn("cannot read my orders: %s", AWAY, extra=event(Event.WORKER_UNSEEN))
    warn("cannot write the heartbeat: %s", AWAY, extra=event(Event.WORKER_UNSEEN))
    assert len(lines()) == 1
    warn("cannot write the heartbeat: %s", Unavailable("other"), extra=event(Event.WORKER_UNSEEN))
    warn("cannot claim: %s", AWAY, extra=event(Event.CLAIM_FAILED))
    assert len(lines()) == 3


def test_lines_about_jobs_and_batches_and_what_is_no_warning_are_all_written(lines):
    logging.getLogger("forebay.test").setLevel(logging.INFO)
    for _ in range(2):
        warn("engine_died", extra=event(Event.JOB_DEAD, job="acme.1"))
        warn("jobs go on: %s", AWAY, extra=event(Event.REDIS_AWAY, job="acme.1"))
        warn("waits: %s", AWAY, extra=event(Event.BEDROCK_BATCH_AWAY, batch="b1"))
        logging.getLogger("forebay.test").info("leaving", extra=event(Event.WORKER_LEAVING))
    assert len(lines()) == 8


def test_an_outcome_that_cannot_be_recorded_yet_is_one_fault_for_all_jobs(lines):
    for number in range(20):
        about = event(Event.JOB_UNRECORDED, job=f"acme.{number}")
        warn("cannot record the outcome of %s yet: %s", f"acme.{number}", AWAY, extra=about)
    assert len(lines()) == 1


def test_a_library_that_says_the_same_again_is_left_out_and_other_words_are_not(lines):
    for _ in range(5):
        warn("cannot connect: %s", "refused", name="celery.worker.consumer.consumer")
    warn("cannot connect: %s", "no route", name="celery.worker.consumer.consumer")
    assert len(lines()) == 2


def test_few_faults_are_remembered(lines):
    for number in range(2 * repeats.MAX_FAULTS):
        warn("cannot claim: %s", number, extra=event(Event.CLAIM_FAILED))
    (handler,) = (one for one in logging.getLogger().handlers if isinstance(one, LineHandler))
    assert len(lines()) == 2 * repeats.MAX_FAULTS
    assert len(handler._repeats._told) == repeats.MAX_FAULTS


def test_a_worker_whose_password_was_changed_says_so_once(redis, redis_url, lines):
    rights = ["on", "~*", "&*", "+@all"]
    redis.execute_command("ACL", "SETUSER", "worker", *rights, ">old")
    url = redis_url.replace("redis://", "redis://worker:old@")
    settings = Settings(redis_url=url)
    beats = Heartbeat(
        Ledger(connect(settings, "look"), settings, "bell"), list, InFlight(1), lambda: True
    )
    try:
        beats._listen()
        assert lines() == []
        redis.execute_command("ACL", "SETUSER", "worker", "resetpass", ">new")
        redis.execute_command("CLIENT", "KILL", "USER", "worker")
        for _ in range(3):
            beats._listen()
            beats._tell()
        (line,) = lines()
        assert "worker.unseen" in line
        assert "WRONGPASS" in line
    finally:
        redis.execute_command("ACL", "DELUSER", "worker")


def test_a_client_in_a_program_of_its_own_tells_an_outage_once(caplog):
    for _ in range(3):
        wakeups.log.warning("waiting for Redis (%s)", "x", extra=event(Event.REDIS_AWAY))
    assert len(caplog.records) == 1
