"""A monitor of Celery events sees jobs: how each began, moved and ended, and no content."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from celery.events.state import State

from forebay.routing.broker.app import celery_app
from forebay.routing.bulk.bulks import Bulks
from forebay.routing.errors import BadAnswer, Expired
from forebay.routing.jobs import Answer, Job, Receipt, Summarize, Summary, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.runtime.outcomes import Answered, Audited, Escalated, Failed, Retry, Routed
from forebay.workers.runtime.recording import record
from forebay.workers.sweeper import Sweeper
from forebay.workers.telemetry import outbox
from forebay.workers.telemetry.celery_events import CeleryEvents
from forebay.workers.telemetry.job_log import JobLog
from ledger_jobs import BELL
from patience import until
from shards import put, shard
from working import work_next

CANARY = "kanarie"
HOLD_S = outbox.HOLD_S
SURE = Verdict(probability=0.9, version="none")


@pytest.fixture
def settings(redis_url):
    return Settings(redis_url=redis_url, lease_s=0.2, max_attempts=2)


@pytest.fixture
def ledger(redis, settings):
    return Ledger(redis, settings, BELL)


@pytest.fixture
def monitor(redis, settings):
    """Return the state that a monitor, such as Flower, makes of the events."""
    state, app = State(), celery_app(settings)
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": state.event})
        thread = threading.Thread(
            target=lambda: receiver.capture(limit=None, timeout=None, wakeup=False), daemon=True
        )
        thread.start()
        until(lambda: redis.pubsub_numpat() > 0, 10)
        yield state
        receiver.should_stop = True
        thread.join(timeout=5)


@pytest.fixture
def worker(settings, monkeypatch):
    """Return what makes the events of a worker of some name; it sends them early."""
    monkeypatch.setattr(outbox, "HOLD_S", 0.05)
    made = []

    def make(name) -> CeleryEvents:
        events = CeleryEvents()
        events._outbox.start(celery_app(settings), name)
        made.append(events)
        return events

    yield make
    for events in made:
        events._outbox.close()


def submit(ledger, **options) -> str:
    request = Summarize(text=f"{CANARY} text", focus=CANARY)
    job = Job(tenant="acme", egress="allow", request=request, metadata={CANARY: CANARY}, **options)
    (job_id,) = ledger.create([job])
    return job_id


def work(ledger, queue, hook, outcome):
    return work_next(ledger, queue, outcome, hook)


def to_local(_claim):
    return Routed("local.default", "allow", "verdict_easy", SURE)


def answer(claim, lane="local") -> Answer:
    made = {"status": "done", "lane": lane, "model": "tiny", "tokens_out": 7}
    return Answer(**claim.record.heading(), **made, content=Summary(text=CANARY))


def answered(claim):
    return Answered(answer(claim))


ENDS = {
    "SUCCESS": answered,
    "FAILURE": lambda _claim: Failed(BadAnswer("no attempt passed its checks")),
    "RETRY": lambda _claim: Retry("throttled", delay_s=60),
    "REVOKED": lambda _claim: Failed(Expired("the deadline passed")),
}


def test_a_job_that_waits_in_its_lane_is_pending_and_was_sent_when_it_was_submitted(
    ledger, monitor, worker
):
    job_id = submit(ledger)
    work(ledger, "route", worker("router1@here"), to_local)
    until(lambda: job_id in monitor.tasks)
    task = monitor.tasks[job_id]
    assert (task.state, task.name, task.client) == ("PENDING", "summarize", "router1@here")
    assert task.args == "('acme', 'allow', 'local')"
    assert task.sent == ledger.record(job_id).created / 1000


@pytest.mark.parametrize("state", ENDS)
def test_a_job_ends_in_the_state_that_it_has_on_the_ledger(ledger, monitor, worker, state):
    job_id = submit(ledger)
    work(ledger, "route", worker("router1@here"), to_local)
    work(ledger, "local.default", worker("local1@here"), ENDS[state])
    until(lambda: job_id in monitor.tasks and monitor.tasks[job_id].state == state)
    task = monitor.tasks[job_id]
    until(lambda: task.sent)  # the router's events may come last
    assert (task.name, task.worker.hostname) == ("summarize", "local1@here")
    assert task.args == "('acme', 'allow', 'local')"
    assert task.started >= task.received >= task.sent
    if state == "SUCCESS":
        assert '"lane": "local"' in task.result
        assert '"tokens_out": 7' in task.result
        assert task.runtime > 0
    if state == "FAILURE":
        assert task.exception == "bad_answer: no attempt passed its checks"
        assert '"reasons": ["verdict_easy", "bad_answer"]' in task.traceback
    if state == "RETRY":
        assert task.exception == "throttled: the service asks us to slow down"
    assert CANARY not in str([vars(task) for task in monitor.tasks.values()])


def test_a_job_without_attempts_left_failed_and_one_with_a_draft_did_not(ledger, monitor, worker):
    spent, drafted = submit(ledger), submit(ledger)
    local = worker("local1@here")
    for _ in range(2):
        work(ledger, "route", local, to_local)
    retried = lambda _claim: Retry("engine_died")  # noqa: E731 - an outcome like those above
    for _ in range(2):
        work(ledger, "local.default", local, retried)  # the older job, until it is spent
    work(ledger, "local.default", local, lambda claim: Escalated("no_answer", answer(claim)))
    for _ in range(2):
        work(ledger, "bedrock", worker("bedrock1@here"), retried)
    until(lambda: drafted in monitor.tasks and monitor.tasks[drafted].state == "SUCCESS")
    assert monitor.tasks[spent].state == "FAILURE"
    assert [ledger.record(one).state for one in (spent, drafted)] == ["failed", "done"]


def test_a_job_that_was_cancelled_while_it_was_worked_is_revoked(ledger, monitor, worker):
    job_id = submit(ledger)

    def cancelled(claim):
        ledger.cancel(claim.id)
        return answered(claim)

    work(ledger, "route", worker("router1@here"), to_local)
    work(ledger, "local.default", worker("local1@here"), cancelled)
    until(lambda: job_id in monitor.tasks and monitor.tasks[job_id].state == "REVOKED")


def test_a_job_that_was_cancelled_while_it_waited_is_revoked_after_the_next_sweep(
    ledger, monitor, worker, caplog
):
    caplog.set_level(logging.INFO)
    waiting, done = submit(ledger), submit(ledger)
    work(ledger, "route", worker("router1@here"), to_local)
    ledger.cancel(waiting)
    ledger.redis.lpush("fb:cancelled", done, "no id", "acme.forged")  # producers write this list
    sweeper = Sweeper(ledger, [worker("sweeper1@here"), JobLog()])
    try:
        until(lambda: waiting in monitor.tasks and monitor.tasks[waiting].state == "REVOKED", 20)
    finally:
        sweeper.close()
    told = [record.fields["job"] for record in caplog.records if record.event == "job.cancelled"]
    assert told == [waiting]
    assert not ledger.redis.exists("fb:cancelled")


def test_a_shard_of_a_cancelled_bulk_is_revoked_and_no_retry(ledger, monitor, worker):
    made = shard("a billing question")
    put(ledger, made)
    claim, local = ledger.claim("route", shards=True), worker("local1@here")
    Bulks(ledger).set_state(made.bulk, "cancelled")
    local.finished(claim, record(ledger, claim, Retry("cancelled", counted=False)))
    until(lambda: made.id in monitor.tasks and monitor.tasks[made.id].state == "RETRY")
    assert ledger.claim("route", shards=True) is None
    sweeper = Sweeper(ledger, [worker("sweeper1@here")])
    try:
        until(lambda: monitor.tasks[made.id].state == "REVOKED", 20)
    finally:
        sweeper.close()


def test_no_job_stays_a_retry_after_another_worker_has_answered_it(
    ledger, monitor, worker, monkeypatch
):
    """Workers send at different times, and a retry that comes last would stand for ever."""
    monkeypatch.setattr(outbox, "HOLD_S", HOLD_S)
    local, bedrock = worker("local1@here"), worker("bedrock1@here")
    ids = [submit(ledger) for _ in range(30)]
    for _ in ids:
        work(ledger, "route", local, to_local)
        work(ledger, "local.default", local, lambda claim: Escalated("doubtful", answer(claim)))
        work(ledger, "bedrock", bedrock, lambda claim: Answered(answer(claim, "bedrock")))
        time.sleep(0.02)
    ended = lambda: [one for one in ids if getattr(monitor.tasks.get(one), "succeeded", None)]  # noqa: E731
    until(lambda: len(ended()) == len(ids))
    time.sleep(2 * outbox.HOLD_S)
    assert {monitor.tasks[one].state for one in ids} == {"SUCCESS"}
    assert all(monitor.tasks[one].exception is None for one in ids)
    assert all(monitor.tasks[one].args == "('acme', 'allow', 'bedrock')" for one in ids)


def test_a_sweep_tells_of_the_leases_that_ran_out_and_of_the_jobs_that_it_ended(
    ledger, monitor, worker, caplog
):
    back, late = submit(ledger), submit(ledger)
    for _ in range(2):
        work(ledger, "route", worker("router1@here"), to_local)
    ledger.claim("local.default")
    ledger.redis.hset(f"fb:job:{late}", "deadline", 1)
    ledger.redis.zadd(f"fb:deadlines:{late.partition('.')[0]}", {late: 1})
    sweeper = Sweeper(ledger, [worker("sweeper1@here")])
    try:
        until(lambda: back in monitor.tasks and monitor.tasks[back].state == "RETRY", 20)
        until(lambda: monitor.tasks[late].state == "REVOKED", 20)
    finally:
        sweeper.close()
    assert "lease ran out" in monitor.tasks[back].exception


def test_an_audit_ends_as_a_task_of_its_own(ledger, monitor, worker):
    job_id = submit(ledger)
    audited = lambda claim: Audited(Receipt(**claim.record.heading(), status="done"))  # noqa: E731
    work(ledger, "route", worker("bedrock1@here"), audited)
    until(lambda: job_id in monitor.tasks and monitor.tasks[job_id].state == "SUCCESS")


def test_events_reach_the_monitor_while_redis_is_full(ledger, redis, monitor, worker):
    job_id = submit(ledger)
    local = worker("local1@here")
    work(ledger, "route", local, to_local)
    redis.config_set("maxmemory", 1)
    try:
        work(ledger, "local.default", local, answered)
        until(lambda: job_id in monitor.tasks and monitor.tasks[job_id].state == "SUCCESS")
    finally:
        redis.config_set("maxmemory", 0)


def test_events_that_nobody_takes_cost_a_job_nothing(ledger, caplog):
    nowhere = celery_app(Settings(redis_url="redis://127.0.0.1:1/0"))
    events = CeleryEvents()
    events._outbox.start(nowhere, "local1@here")
    job_id = submit(ledger)
    began = time.monotonic()
    for _ in range(20_000):
        events._outbox.put("task-sent", {"uuid": "acme.a"})
    work(ledger, "route", events, to_local)
    assert time.monotonic() - began < 5
    assert ledger.record(job_id).queue == "local.default"
    assert len(events._outbox._unsent) <= outbox.MAX_UNSENT
    began = time.monotonic()
    events._outbox.close()
    assert time.monotonic() - began < outbox.CLOSE_S + 3
