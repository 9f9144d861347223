"""One doorbell answered: a job, or several that take moments; each one told apart."""

import time

import pytest

from forebay.routing.jobs import Generate, Job, Message, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.runtime import execute
from forebay.workers.runtime.execute import Routed
from forebay.workers.runtime.in_flight import InFlight

BELL = '{"id": "@RING@", "queue": "@QUEUE@", "task": "@TASK@"}'


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(), BELL)


@pytest.fixture
def hands():
    return InFlight(4)


@pytest.fixture
def patient(monkeypatch):
    """However busy the machine is, these jobs are quick."""
    monkeypatch.setattr(execute, "QUICK_S", 60)


def put(ledger, count: int) -> list[str]:
    request = Generate(messages=[Message(role="user", content="hello")])
    return ledger.create([Job(request=request) for _ in range(count)])


def routed(_claim) -> Routed:
    return Routed("local.default", "deny", "no_verdict", Verdict(probability=0.5, version="none"))


def test_quick_jobs_share_one_doorbell_and_take_their_own_along(ledger, redis, hands, patient):
    ids = put(ledger, 5)
    redis.rpop("route")  # the doorbell that Celery took
    shown = execute.answer(ledger, "route", routed, hands)
    assert sorted(one["id"] for one in shown) == sorted(ids)
    assert redis.llen("route") == 0
    assert redis.llen("local.default") == 5
    assert execute.answer(ledger, "route", routed, hands) is None


def test_a_job_that_takes_longer_has_a_task_to_itself(ledger, redis, hands):
    put(ledger, 2)
    redis.rpop("route")

    def slowly(claim):
        time.sleep(execute.QUICK_S)
        return routed(claim)

    shown = execute.answer(ledger, "route", slowly, hands)
    assert shown["to"] == "local.default"
    assert redis.llen("route") == 1
    assert ledger.depths()["route"] == 1


def test_who_is_leaving_takes_no_second_job(ledger, redis, hands, patient):
    put(ledger, 2)
    redis.rpop("route")

    def told_to_leave(claim):
        hands.closed = True
        return routed(claim)

    assert execute.answer(ledger, "route", told_to_leave, hands)["to"] == "local.default"
    assert ledger.depths()["route"] == 1


def test_a_claim_that_was_called_by_a_doorbell_leaves_the_others_hanging(ledger, redis):
    put(ledger, 3)
    redis.rpop("route")
    ledger.claim("route")
    assert redis.llen("route") == 2
    ledger.claim("route", unrung=True)
    assert redis.llen("route") == 1
    ledger.claim("route", unrung=True)
    assert ledger.claim("route", unrung=True) is None
    assert redis.llen("route") == 0


def test_one_failure_among_quick_jobs_is_its_own(ledger, hands, patient):
    ids = put(ledger, 3)

    def fails_once(claim):
        if claim.id == ids[1]:
            raise ValueError("a secret text")
        return routed(claim)

    shown = {one["id"]: one for one in execute.answer(ledger, "route", fails_once, hands)}
    assert shown[ids[1]] == {"id": ids[1], "error": "internal", "again": True}
    assert shown[ids[0]]["to"] == shown[ids[2]]["to"] == "local.default"
