"""A producer that falsifies what all tenants share, under its own user: others are served.

Each test is the attack and its bound: what still works at once, and when the true value is back.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
import redis as redis_py

from forebay.routing.jobs import Embed, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, job, put, walk

pytestmark = pytest.mark.slow

MAX_WAITING = 1_000


@pytest.fixture
def attacker(users):
    """Return the client of a hostile producer, in an empty Redis."""
    users.empty()
    return users["producer-acme"]


@pytest.fixture
def fleet_side(users):
    """Return the ledger of the fleet: workers and sweepers."""
    ledger = Ledger(users["worker"], Settings(lease_s=5, max_waiting=MAX_WAITING), BELL)
    ledger.load_scripts()
    return ledger


@pytest.fixture
def sweeper(users):
    """Return the ledger under the sweeper's own user."""
    return Ledger(users["sweeper"], Settings(max_waiting=MAX_WAITING), BELL)


@pytest.fixture
def victim(users, fleet_side):
    """Return the ledger under the user of another tenant."""
    return Ledger(users["producer-globex"], Settings(max_waiting=MAX_WAITING), BELL)


def embedding(tenant: str, texts: int) -> Job:
    return Job(tenant=tenant, request=Embed(texts=[f"text {i}" for i in range(texts)]))


# --- the number of waiting jobs ------------------------------------------------------------------


def test_a_forged_depth_refuses_nobodys_job(attacker, victim, users):
    attacker.hincrby("fb:depth", "route", 10**9)
    put(victim, job("globex"))
    assert int(users["operator"].hget("fb:depth", "route")) == 1
    attacker.hincrby("fb:depth", "route", 10**9)
    put(victim, job("globex"))


def test_a_queue_that_is_full_still_refuses_after_a_forged_depth(attacker, victim, fleet_side):
    put(victim, *(job("globex") for _ in range(MAX_WAITING)))
    attacker.hincrby("fb:depth", "route", 10**9)
    (refused,) = victim.create([job("globex")])
    assert f"{MAX_WAITING} jobs are waiting" in str(refused)
    attacker.hincrby("fb:depth", "route", -(10**9))
    put(victim, job("globex"))  # forged too low: the queue takes more, until the next sweep
    fleet_side.sweep()
    (refused,) = victim.create([job("globex")])
    assert f"{MAX_WAITING + 1} jobs are waiting" in str(refused)


def test_forged_queues_are_gone_after_a_sweep_and_cost_it_little(
    attacker, victim, fleet_side, sweeper, users
):
    put(victim, job("globex"))
    with attacker.pipeline(transaction=False) as pipe:
        for i in range(100_000):
            pipe.hincrby("fb:depth", f"local.{i}", 1)
        pipe.execute()
    honest = _commands(users, sweeper.sweep)
    assert users["operator"].hgetall("fb:depth") == {b"route": b"1"}
    assert abs(_commands(users, sweeper.sweep) - honest) < 100
    assert fleet_side.claim("route")


def _commands(users, work) -> int:
    """Return how many commands Redis ran for this work."""

    def calls() -> int:
        stats = users["operator"].info("commandstats")
        return sum(one["calls"] for one in stats.values())

    before = calls()
    work()
    return calls() - before


def test_queues_that_forged_records_name_are_no_queues(attacker, victim, fleet_side, sweeper):
    mine = put(victim, job("globex"))
    made = Ledger(attacker, Settings(), BELL).create([job() for _ in range(20)])
    for i, job_id in enumerate(made):
        attacker.hset(f"fb:job:{job_id}", mapping={"queue": f"local.x{i}", "state": "waiting"})
        attacker.zrem("fb:waiting:route:interactive:acme", job_id)
    walk(sweeper)
    sweeper.sweep()
    assert fleet_side.depths() == {"route": 21}
    claims = [fleet_side.claim("route") for _ in range(21)]
    assert mine[0] in {claim.id for claim in claims if claim}


# --- the bytes of answers to come -----------------------------------------------------------------


MIB_ANSWERS = 256  # texts whose vectors take 1 MiB


@pytest.mark.parametrize("forged", [10**15, -(10**15), 2**63 - 5000])
def test_forged_bytes_of_answers_to_come_leave_others_half_of_the_memory(
    attacker, victim, fleet_side, sweeper, users, forged
):
    operator = users["operator"]
    put(victim, job("globex"))
    put(Ledger(attacker, Settings(), BELL), job())
    for _ in range(2):
        assert fleet_side.claim("route")
    attacker.incrby("fb:promised:acme", forged)
    sweeper.sweep()
    free_mib = int(operator.get("fb:free")) // 2**20
    put(victim, *(embedding("globex", MIB_ANSWERS) for _ in range(free_mib // 2 - 2)))
    walk(sweeper)
    assert int(operator.get("fb:promised:acme")) == 1024
    sweeper.sweep()
    assert int(operator.hget("fb:counted", "acme")) == 1024
    put(victim, *(embedding("globex", MIB_ANSWERS) for _ in range(free_mib // 8)))


def test_the_answers_to_come_of_all_tenants_are_counted(attacker, victim, fleet_side, sweeper):
    mine = Ledger(attacker, Settings(), BELL)
    sweeper.sweep()
    free_mib = int(attacker.get("fb:free")) // 2**20
    put(mine, *(embedding("acme", MIB_ANSWERS) for _ in range(free_mib * 6 // 10)))
    walk(sweeper)
    sweeper.sweep()
    put(victim, *(embedding("globex", MIB_ANSWERS) for _ in range(free_mib * 3 // 10)))
    refused = victim.create([embedding("globex", MIB_ANSWERS) for _ in range(free_mib * 2 // 10)])
    assert "the answers to the waiting jobs" in str(refused[-1])


# --- whose turn it is -----------------------------------------------------------------------------


def test_a_flood_of_forged_newcomers_does_not_hide_a_tenant_that_is_known(
    attacker, victim, fleet_side, sweeper, users
):
    put(victim, job("globex"))
    assert fleet_side.claim("route")  # globex is known from now on, and has no turn any more
    attacker.sadd("fb:newcomers:route:interactive", *(f"x{i}" for i in range(200_000)))
    (waiting,) = put(victim, job("globex"))
    assert fleet_side.claim("route").id == waiting
    sweeper.sweep()
    assert users["operator"].scard("fb:newcomers:route:interactive") == 0


def test_a_flood_of_forged_newcomers_hides_a_new_tenant_until_the_walk(
    attacker, victim, fleet_side, sweeper
):
    (waiting,) = put(victim, job("globex"))
    attacker.sadd("fb:newcomers:route:interactive", *(f"x{i}" for i in range(200_000)))
    sweeper.sweep()
    walk(sweeper)
    assert fleet_side.claim("route").id == waiting


@pytest.mark.parametrize("entry", ["junk", "globex.1", "acme.none"])
def test_junk_among_ones_own_waiting_jobs_holds_up_nobody(attacker, victim, fleet_side, entry):
    mine = Ledger(attacker, Settings(), BELL)
    put(mine, job())
    waiting = put(victim, *(job("globex") for _ in range(20)))
    junk = {f"{entry}{i}": -i for i in range(50_000)}
    attacker.zadd("fb:waiting:route:interactive:acme", junk)
    served = [fleet_side.claim("route") for _ in range(20)]
    assert [claim.id for claim in served if claim] == waiting


def test_a_producer_cannot_keep_bulk_jobs_from_ageing(attacker, victim, users, sweeper):
    workers = Ledger(users["worker"], Settings(ageing_s=0.2, bulk_share=2), BELL)
    workers.load_scripts()
    with pytest.raises(redis_py.exceptions.NoPermissionError):
        attacker.hsetnx("fb:since", "route:bulk", 10**15)
    put(victim, job("globex", priority="bulk"), *(job("globex") for _ in range(4)))
    sweeper.sweep()
    time.sleep(0.3)
    kinds = [workers.claim("route").job().priority for _ in range(2)]
    assert sorted(kinds) == ["bulk", "interactive"]


# --- deadlines ------------------------------------------------------------------------------------


def test_nobody_reaches_the_deadlines_of_others(attacker, victim):
    (theirs,) = put(victim, job("globex", deadline=datetime.now(UTC) + timedelta(hours=1)))
    with pytest.raises(redis_py.exceptions.NoPermissionError):
        attacker.zrem("fb:deadlines:globex", theirs)


@pytest.mark.parametrize("key", ["fb:deadlines:acme", "fb:deadlines"])
def test_a_deadline_that_was_brought_forward_ends_no_job(attacker, victim, sweeper, key):
    (theirs,) = put(victim, job("globex", deadline=datetime.now(UTC) + timedelta(hours=1)))
    attacker.zadd(key, {theirs: 0})
    assert sweeper.sweep().expired == 0
    assert victim.status(theirs).state == "waiting"


@pytest.mark.parametrize("key", ["fb:deadlines:acme", "fb:deadlines"])
def test_a_flood_of_forged_deadlines_delays_no_deadline_of_others(
    attacker, victim, fleet_side, sweeper, users, key
):
    """The rights on the second key are those of producers of an earlier release."""
    (theirs,) = put(victim, job("globex", deadline=datetime.now(UTC) + timedelta(seconds=0.1)))
    users["operator"].hset("fb:tenants", "acme", 0)
    attacker.zadd(key, {f"{tenant}.{i}": i for i in range(5_000) for tenant in ("acme", "globex")})
    time.sleep(0.2)
    assert sum(sweeper.sweep(500).expired for _ in range(2)) == 1
    assert victim.status(theirs).state == "expired"
    for _ in range(50):
        sweeper.sweep(500)
    assert not users["operator"].exists(key)
