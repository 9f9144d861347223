"""A claim takes the best job by class, by tenant, by deadline, and by age."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, job, put


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.2, max_attempts=3), BELL)


def test_interactive_goes_before_bulk(ledger):
    bulk, interactive = job(priority="bulk"), job()
    put(ledger, bulk, interactive)
    assert [ledger.claim("route").id for _ in range(2)] == [interactive.id, bulk.id]


def test_bulk_that_has_waited_too_long_gets_its_share_of_claims(redis):
    ledger = Ledger(redis, Settings(ageing_s=0.001, bulk_share=4), BELL)
    put(ledger, *(job(priority="bulk") for _ in range(10)))
    put(ledger, *(job() for _ in range(20)))
    ledger.sweep()
    time.sleep(0.01)
    kinds = [ledger.claim("route").job().priority for _ in range(16)]
    assert kinds.count("bulk") == 4


def test_the_earliest_deadline_goes_first_and_then_the_oldest_job(ledger):
    now = datetime.now(UTC)
    first, second = job(), job()
    late = job(deadline=now + timedelta(minutes=20))
    soon = job(deadline=now + timedelta(minutes=10))
    put(ledger, first, second, late, soon)
    claimed = [ledger.claim("route").id for _ in range(4)]
    assert claimed == [soon.id, late.id, first.id, second.id]


def test_tenants_share_the_claims_however_much_one_of_them_submits(ledger):
    put(ledger, *(job("greedy") for _ in range(50)))
    for _ in range(5):
        ledger.claim("route")
    put(ledger, *(job("modest") for _ in range(5)))
    served = [ledger.claim("route").id.partition(".")[0] for _ in range(10)]
    assert served.count("modest") == 5


def test_a_tenant_with_one_job_at_a_time_does_not_starve_one_with_many(ledger):
    put(ledger, *(job("heavy") for _ in range(40)))
    put(ledger, job("light"))
    served = []
    for _ in range(30):
        served.append(ledger.claim("route").id.partition(".")[0])
        if served[-1] == "light":
            put(ledger, job("light"))
    assert 10 <= served.count("light") <= 16


def test_a_job_that_is_given_back_keeps_its_place(ledger):
    first, *others = put(ledger, *(job() for _ in range(5)))
    ledger.retry(ledger.claim("route"), "unavailable")
    assert ledger.status(first).position == 0
    assert ledger.claim("route").id == first
    assert ledger.claim("route").id == others[0]


def test_bulk_ages_as_a_class_even_behind_a_stream_of_urgent_bulk(redis):
    ledger = Ledger(redis, Settings(ageing_s=0.05, bulk_share=2), BELL)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    put(ledger, job(priority="bulk"), *(job() for _ in range(20)))
    ledger.sweep()
    time.sleep(0.06)
    kinds = []
    for _ in range(8):
        put(ledger, job(priority="bulk", deadline=soon))  # always a fresh one at the head
        kinds.append(ledger.claim("route").job().priority)
    assert kinds.count("bulk") == 4


def served(ledger, claims: int) -> list[str]:
    """Return the tenants of the next claims."""
    found = [ledger.claim("route") for _ in range(claims)]
    return [claim.id.partition(".")[0] for claim in found if claim]


FORGED = [-1e15, 1e15, "-inf", "inf", -1e300, 1e300, -2, 2]


@pytest.mark.parametrize("turn", FORGED)
@pytest.mark.parametrize("forger", ["a", "b"])
def test_a_forged_turn_is_corrected_and_gains_or_costs_two_claims_at_most(
    ledger, redis, turn, forger
):
    put(ledger, *(job(tenant) for tenant in "ab" for _ in range(20)))
    assert sorted(served(ledger, 4)) == ["a", "a", "b", "b"]
    redis.zadd("fb:turn:route:interactive", {forger: turn})
    shares = served(ledger, 20)
    assert 9 <= shares.count("a") <= 11
    clock = float(redis.hget("fb:clock", "route:interactive"))
    turns = redis.zrange("fb:turn:route:interactive", 0, -1, withscores=True)
    assert all(abs(time - clock) <= 1 for _, time in turns)


@pytest.mark.parametrize("clock", ["x", "", "nan", "inf", "1e15", "-7", 2**60])
def test_a_forged_clock_costs_nobody_the_turn(ledger, redis, clock):
    put(ledger, *(job(tenant) for tenant in "ab" for _ in range(20)))
    served(ledger, 4)
    redis.hset("fb:clock", "route:interactive", clock)
    assert 9 <= served(ledger, 20).count("a") <= 11


@pytest.mark.parametrize("forgers", [49, 120])
def test_forged_turns_of_many_tenants_stop_no_claim(ledger, redis, forgers):
    names = [f"f{i}" for i in range(forgers)]
    put(ledger, *(job(tenant) for tenant in (*names, "z")), job("z"))
    served(ledger, 1)
    redis.zadd("fb:turn:route:interactive", dict.fromkeys(names, -1e15), xx=True)
    assert len(served(ledger, forgers + 1)) == forgers + 1


@pytest.mark.parametrize("junk", ["x", "acme", "globex.1", "acme.{}", "acme.none"])
def test_what_is_no_job_of_the_tenant_costs_its_own_turn(ledger, redis, junk):
    waiting = put(ledger, *(job("globex") for _ in range(5)))
    put(ledger, job("acme"))
    redis.zadd("fb:waiting:route:interactive:acme", {f"{junk}{i}": -i for i in range(1000)})
    found = [ledger.claim("route") for _ in range(5)]
    assert [claim.id for claim in found if claim] == waiting


def commands(redis):
    """Return how many commands Redis has run, those of scripts included."""
    return sum(each["calls"] for each in redis.info("commandstats").values())


def test_a_claim_costs_the_same_however_many_tenants_came_at_once(redis, ledger):
    put(ledger, *(job(f"t{number}") for number in range(1_000)))
    costs, served = [], set()
    for _ in range(50):
        before = commands(redis)
        served.add(ledger.claim("route").id.partition(".")[0])
        costs.append(commands(redis) - before)
    *usual, last_of_the_crowd = sorted(costs)
    assert max(usual) < 150, "an earlier version took thousands"
    assert last_of_the_crowd < 800
    assert len(served) == 50, "each tenant is served once before one is served twice"


def test_all_tenants_that_came_at_once_get_their_turn(ledger):
    put(ledger, *(job(f"t{number}") for number in range(400) for _ in range(2)))
    claims = [claim for _ in range(10) for claim in ledger.claim_many("route", 40)]
    assert len({claim.tenant for claim in claims}) == 400


def test_a_claim_of_many_jobs_finds_them_although_each_is_of_another_new_tenant(ledger):
    put(ledger, *(job(f"t{number}") for number in range(300)))
    assert len(ledger.claim_many("route", 32)) == 32


def test_a_known_tenant_gets_its_turn_while_names_without_jobs_keep_coming(redis, ledger):
    put(ledger, *(job(f"t{number}") for number in range(300)))
    while ledger.claim_many("route", 100):
        pass
    waiting = {made.id for made in (job("t7"), job("t299")) if put(ledger, made)}
    claimed = set()
    for start in range(0, 40_000, 1_000):
        redis.sadd("fb:newcomers:route:interactive", *(f"x{start + i}" for i in range(1_000)))
        if claim := ledger.claim("route"):
            claimed.add(claim.id)
    assert claimed == waiting
