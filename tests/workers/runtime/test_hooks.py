"""Job hooks: they see every kind of outcome, and a hook that raises changes nothing."""

from __future__ import annotations

import pytest

from forebay.routing.errors import InvalidJob, Lost, Unavailable
from forebay.routing.jobs import Answer, Job, Receipt, Summarize, Summary, Verdict
from forebay.workers.runtime import execute, recording
from forebay.workers.runtime.actor import Actor
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.execute import Executor
from forebay.workers.runtime.outcomes import (
    Answered,
    Audited,
    Dropped,
    Escalated,
    Failed,
    Outcome,
    Retry,
    Routed,
)

SECRET = "a secret text"


class RecordingHook:
    """Notes which methods were called, with what, and where the job was at that time."""

    def __init__(self, ledger) -> None:
        self._ledger = ledger
        self.started_jobs: list[str] = []
        self.outcomes: list[tuple[str, Outcome]] = []
        self.states: list[str] = []

    def started(self, claim, /) -> None:
        self.started_jobs.append(claim.id)
        self.states.append(self._ledger.record(claim.id).state)

    def finished(self, claim, recorded, /) -> None:
        self.outcomes.append((claim.id, recorded.outcome))
        self.states.append(self._ledger.record(claim.id).state)


class RaisingHook:
    """Raises whenever it is called, with content in the message."""

    def started(self, _claim, /) -> None:
        raise RuntimeError(SECRET)

    def finished(self, _claim, _outcome, /) -> None:
        raise KeyError(SECRET)


def routed(_claim):
    return Routed("local.default", "deny", "no_verdict", Verdict(probability=0.5, version="none"))


def answer(claim):
    heading = claim.record.heading()
    return Answer(**heading, status="done", lane="local", content=Summary(text="short"))


def answered(claim):
    return Answered(answer(claim))


def escalated(claim):
    return Escalated("no_answer", answer(claim))


def failed(_claim):
    return Failed(InvalidJob("wrong", field="text"))


def retried(_claim):
    return Retry("unavailable", delay_s=60)


def audited(claim):
    return Audited(Receipt(**claim.record.heading(), status="done"))


def lost(_claim):
    raise Lost


def broken(_claim):
    raise ValueError(SECRET)


#: Each way for work to end: the queue, the outcome that a hook sees, and the job's state then.
ENDS = [
    (routed, "route", Routed, "waiting"),
    (answered, "local.default", Answered, "done"),
    (escalated, "local.default", Escalated, "waiting"),
    (failed, "route", Failed, "failed"),
    (retried, "route", Retry, "waiting"),
    (audited, "route", Audited, "done"),
    (lost, "route", Dropped, "running"),
    (broken, "route", Retry, "waiting"),
]


def work_one(ledger, queue, work, *hooks):
    """Create a job, move it to the queue, and have it worked there."""
    (job_id,) = ledger.create([Job(egress="allow", request=Summarize(text=SECRET))])
    if queue != "route":
        verdict = Verdict(probability=0.5, version="none")
        ledger.route(ledger.claim("route"), queue, "allow", "verdict_easy", verdict)
    return job_id, Executor(ledger, work, InFlight(1), hooks).answer_doorbell(queue)


@pytest.mark.parametrize(("work", "queue", "kind", "state"), ENDS)
def test_a_hook_sees_the_start_and_the_recorded_outcome(ledger, work, queue, kind, state):
    hook = RecordingHook(ledger)
    job_id, _ = work_one(ledger, queue, work, hook)
    assert hook.started_jobs == [job_id]
    ((finished_id, outcome),) = hook.outcomes
    assert (finished_id, type(outcome)) == (job_id, kind)
    assert hook.states == ["running", state]


@pytest.mark.parametrize(("work", "queue", "kind", "state"), ENDS)
def test_a_hook_that_raises_changes_nothing(ledger, caplog, work, queue, kind, state):
    _, (plain,) = work_one(ledger, queue, work)
    ledger.forget(plain.id)
    hook = RecordingHook(ledger)
    other_id, (recorded,) = work_one(ledger, queue, work, RaisingHook(), hook)
    assert (recorded.state, type(recorded.outcome)) == (plain.state, type(plain.outcome))
    assert ledger.record(other_id).state == state
    assert [type(outcome) for _, outcome in hook.outcomes] == [kind]  # hooks after it are called
    lines = [record.getMessage() for record in caplog.records]
    logged = [line for line in lines if line.startswith("hook ")]
    assert len(logged) == 2
    assert "RaisingHook raised RuntimeError at" in logged[0]
    assert "RaisingHook raised KeyError at" in logged[1]
    assert all("test_hooks.py" in line for line in logged)
    assert SECRET not in caplog.text


def test_a_hook_that_lacks_a_method_changes_nothing(ledger, caplog):
    class Unfinished:
        def started(self, _claim, /) -> None:
            pass

    hook = RecordingHook(ledger)
    _, (recorded,) = work_one(ledger, "route", routed, Unfinished(), hook)
    assert recorded.outcome.queue == "local.default"
    assert [type(outcome) for _, outcome in hook.outcomes] == [Routed]
    assert "Unfinished raised AttributeError at" in caplog.text


def test_a_job_that_was_lost_meanwhile_is_dropped(ledger):
    hook = RecordingHook(ledger)

    def cancelled(claim):
        ledger.cancel(claim.id)
        return answered(claim)

    _, (recorded,) = work_one(ledger, "route", cancelled, hook)
    assert recorded.state == "cancelled"
    assert [outcome for _, outcome in hook.outcomes] == [Dropped()]


def test_an_outcome_that_cannot_be_recorded_is_dropped_and_raised(ledger, monkeypatch):
    hook = RecordingHook(ledger)

    def down(*_args):
        raise Unavailable("no Redis")

    monkeypatch.setattr(recording, "record", down)
    monkeypatch.setattr(recording, "PATIENCE_S", -1)
    with pytest.raises(Unavailable):
        work_one(ledger, "route", routed, hook)
    assert [outcome for _, outcome in hook.outcomes] == [Dropped()]


def test_a_doorbell_without_a_job_calls_no_hook(ledger):
    hook = RecordingHook(ledger)
    assert Executor(ledger, routed, InFlight(1), (hook,)).answer_doorbell("route") == []
    assert (hook.started_jobs, hook.outcomes) == ([], [])


def test_every_quick_job_of_a_doorbell_is_observed(ledger, monkeypatch):
    monkeypatch.setattr(execute, "QUICK_S", 60)
    ids = ledger.create([Job(request=Summarize(text=SECRET)) for _ in range(3)])
    hook = RecordingHook(ledger)
    Executor(ledger, routed, InFlight(1), (hook,)).answer_doorbell("route")
    assert sorted(hook.started_jobs) == sorted(ids)
    assert [job_id for job_id, _ in hook.outcomes] == hook.started_jobs


def test_an_actor_passes_its_hooks_to_every_job(ledger, redis_url, monkeypatch):
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    hook, queue = RecordingHook(ledger), "local.hooks-test"
    actor = Actor([queue], lambda _ledger: Retrying(), pool="solo", concurrency=1, hooks=[hook])
    actor._executor = actor._executor_of(actor._make(actor.ledger))
    (job_id,) = ledger.create([Job(request=Summarize(text=SECRET))])
    verdict = Verdict(probability=0.5, version="none")
    ledger.route(ledger.claim("route"), queue, "deny", "verdict_easy", verdict)
    assert actor.app.tasks["forebay.local"]() is None
    assert [(one, type(outcome)) for one, outcome in hook.outcomes] == [(job_id, Retry)]


class Retrying:
    """A worker that gives every job back."""

    def work(self, claim, /):
        return retried(claim)

    def close(self):
        pass
