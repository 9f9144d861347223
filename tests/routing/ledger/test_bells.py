"""In the queue of a lane few doorbells stand for all jobs, and no job is left without one."""

import pytest

from forebay.routing.jobs import Embed, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, SURE, answer, job, put

LANE = "local.default"
BELLS = 2


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.2), BELL)


def wait_in_lane(ledger, count):
    put(ledger, *(job(f"tenant{number % 3}") for number in range(count)))
    while claims := ledger.claim_many("route", 50):
        for claim in claims:
            ledger.route(claim, LANE, "deny", "r", SURE)


def ring(redis):
    """Take a doorbell as Celery does; return false if none is there."""
    return redis.rpop(LANE) is not None


@pytest.mark.parametrize(("jobs", "bells"), [(1, 1), (2, 2), (30, BELLS)])
def test_many_jobs_ring_no_more_than_a_few_doorbells(ledger, redis, jobs, bells):
    wait_in_lane(ledger, jobs)
    assert redis.llen(LANE) == bells


@pytest.mark.parametrize("at_once", [1, 4, 50])
def test_whoever_answers_one_doorbell_after_the_other_finds_all_jobs(ledger, redis, at_once):
    wait_in_lane(ledger, 30)
    found = 0
    while ring(redis):
        found += len(ledger.claim_many(LANE, at_once))
    assert found == 30


def test_a_claim_wakes_others_only_while_jobs_are_left(ledger, redis):
    wait_in_lane(ledger, 3)
    assert ring(redis)
    assert ring(redis)
    ledger.claim(LANE)
    assert redis.llen(LANE) == BELLS, "two jobs are left"
    ledger.claim_many(LANE, 2)
    assert redis.llen(LANE) == BELLS, "none is left, and none rings"


def test_a_job_alone_costs_one_doorbell(ledger, redis):
    for _ in range(5):
        wait_in_lane(ledger, 1)
        assert ring(redis)
        claim = ledger.claim(LANE)
        ledger.settle(claim, answer(claim))
        assert redis.llen(LANE) == 0


def test_doorbells_that_are_lost_with_their_worker_ring_again_at_the_second_sweep(ledger, redis):
    wait_in_lane(ledger, 30)
    redis.delete(LANE)
    redis.hset("fb:quiet", f"{LANE} at", 0)
    ledger.sweep()
    redis.hset("fb:quiet", f"{LANE} at", 0)
    assert redis.llen(LANE) == 0
    assert ledger.sweep().rung == BELLS
    assert redis.llen(LANE) == BELLS


def test_a_job_that_comes_back_or_goes_up_rings(ledger, redis):
    wait_in_lane(ledger, 1)
    ring(redis)
    ledger.retry(ledger.claim(LANE), "unavailable", counted=False)
    assert redis.llen(LANE) == 1
    job_id, *_ = put(ledger, job(egress="allow"))
    ledger.route(ledger.claim("route"), LANE, "allow", "r", SURE)
    claims = ledger.claim_many(LANE, 5)
    up = next(claim for claim in claims if claim.id == job_id)
    ledger.escalate(up, "r", None)
    assert redis.llen("bedrock") == 1


def test_each_job_before_the_router_has_its_doorbell(ledger, redis):
    put(ledger, *(job() for _ in range(7)))
    assert redis.llen("route") == 7


def test_jobs_that_are_put_into_a_lane_at_once_ring_a_few_doorbells(ledger, redis):
    redis.hset("fb:lanes", mapping={"epoch": "1", "/embed": "embed", "/deny": "0", "/bedrock": "0"})
    put(ledger, *(Job(request=Embed(texts=["a"])) for _ in range(60)))
    assert redis.llen("embed") == BELLS
