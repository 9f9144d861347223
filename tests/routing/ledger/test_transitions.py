"""The scripts against hostile data: keys of the wrong type, forged records, leftovers."""

from __future__ import annotations

import time

import pytest

from forebay.routing.errors import Lost, Unavailable
from forebay.routing.ledger import result
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, SURE, answer, job, put


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.2, max_attempts=3), BELL)


GLOBAL = ("fb:leases", "fb:later", "fb:deadlines:acme", "fb:depth", "fb:clock")
MOVES = {
    "create": lambda ledger, claim: ledger.create([job()]),
    "claim": lambda ledger, claim: ledger.claim("route"),
    "route": lambda ledger, claim: ledger.route(claim, "local.default", "deny", "r", SURE),
    "escalate": lambda ledger, claim: ledger.escalate(claim, "r", answer(claim)),
    "retry": lambda ledger, claim: ledger.retry(claim, "unavailable"),
    "later": lambda ledger, claim: ledger.retry(claim, "unavailable", delay_s=1),
    "settle": lambda ledger, claim: ledger.settle(claim, answer(claim)),
    "cancel": lambda ledger, claim: ledger.cancel(claim.id),
    "forget": lambda ledger, claim: ledger.forget(claim.id),
}


def everything(redis, but: str) -> dict[bytes, bytes]:
    return {key: redis.dump(key) for key in redis.keys() if key.decode() != but}


@pytest.mark.parametrize("key", GLOBAL)
@pytest.mark.parametrize("move", MOVES)
def test_no_script_stops_halfway_at_a_key_of_the_wrong_type(ledger, redis, key, move):
    put(ledger, *(job(egress="allow") for _ in range(2)))
    claim = ledger.claim("route")
    redis.delete(key)
    redis.lpush(key, "not ours")
    before = everything(redis, key)
    try:
        made = MOVES[move](ledger, claim)
    except Unavailable:
        made = [None]
    assert not isinstance(made[0], str)
    assert everything(redis, key) == before


def test_a_job_that_cannot_be_moved_does_not_stop_a_sweep(ledger, redis):
    stuck, fine = put(ledger, job("a"), job("b"))
    for _ in range(2):
        ledger.claim("route")
    redis.set("fb:waiting:route:interactive:a", "not a queue")
    time.sleep(0.22)
    assert ledger.sweep().back == 1
    assert ledger.status(fine).state == "waiting"
    assert ledger.status(stuck).state == "running"
    assert redis.zscore("fb:leases", stuck) > time.time() * 1000 + 30_000
    redis.delete("fb:waiting:route:interactive:a")
    redis.zadd("fb:leases", {stuck: 1})
    assert ledger.sweep().back == 1


def test_a_queue_of_the_wrong_type_does_not_block_the_claims_of_other_tenants(ledger, redis):
    put(ledger, job("a"), job("b"))
    redis.set("fb:waiting:route:interactive:a", "not a queue")
    assert ledger.claim("route").id.startswith("b.")
    assert ledger.claim("route") is None


JUNK = [b"", b"nan", b"inf", b"-1e999", b"1e400", b"word", b"\xff", b"99999999999999999999"]


FIELDS = [
    "attempts",
    "queued",
    "started",
    "fence",
    "deadline",
    "hop",
    "queued_ms",
    "worked_ms",
    "priority",
    "kind",
    "verdict",
]


@pytest.mark.parametrize("field", FIELDS)
def test_a_forged_record_stops_neither_claims_nor_sweeps_of_other_jobs(ledger, redis, field):
    ids = put(ledger, *(job() for _ in range(3 * len(JUNK))))
    for i, value in enumerate(JUNK):
        redis.hset(f"fb:job:{ids[3 * i]}", field, value)
        redis.hdel(f"fb:job:{ids[3 * i + 1]}", field)
    claimed = {ledger.claim("route").id for _ in JUNK}
    for _ in range(len(ids)):
        claim = ledger.claim("route")
        claimed |= {claim.id} if claim else set()
    assert {ids[3 * i + 2] for i in range(len(JUNK))} <= claimed
    time.sleep(0.22)
    ledger.sweep()
    running = {i for i in ids if redis.hget(f"fb:job:{i}", "state") == b"running"}
    assert not running
    assert {ledger.record(ids[3 * i + 2]).state for i in range(len(JUNK))} == {"waiting"}


def test_a_record_of_the_wrong_type_is_not_a_job(ledger, redis):
    (job_id,) = put(ledger, job())
    redis.set(f"fb:job:{job_id}", "not a hash")
    assert ledger.claim("route") is None
    assert not ledger.forget(job_id)
    redis.hset("fb:tenants", "acme", 0)
    redis.zadd("fb:deadlines:acme", {job_id: 1})
    redis.zadd("fb:leases", {job_id: 1})
    ledger.sweep()
    assert not redis.exists("fb:deadlines:acme", "fb:leases")


def test_forgetting_a_forged_record_deletes_no_key_but_those_of_its_job(ledger, redis):
    (job_id,) = put(ledger, job(idempotency_key="k"))
    others = {"fb:depth": None, "precious": "1", "fb:cached": "fb:depth"}
    redis.set("precious", "1")
    redis.set("fb:idempotency:globex:k", "globex.1 digest")
    for name in (*others, "fb:idempotency:globex:k"):
        redis.hset(f"fb:job:{job_id}", "idempotency", name)
    redis.set(f"fb:cached:{job_id}", "precious")
    ledger.forget(job_id)
    assert redis.get("precious") == b"1"
    assert redis.ttl("fb:idempotency:globex:k") == -1
    assert not redis.exists(f"fb:cached:{job_id}")


def test_the_idempotency_key_of_a_cancelled_job_expires_and_then_starts_a_new_job(redis):
    ledger = Ledger(redis, Settings(retention_s=0.2), BELL)
    first, second = job(idempotency_key="k"), job(idempotency_key="k")
    put(ledger, first)
    ledger.cancel(first.id)
    assert put(ledger, second) == [first.id]
    time.sleep(0.25)
    assert put(ledger, second) == [second.id]


def test_an_escalated_job_that_is_cancelled_or_forgotten_leaves_no_draft(ledger, redis):
    for end in (ledger.cancel, ledger.forget):
        (job_id,) = put(ledger, job(egress="allow"))
        ledger.escalate(claim := ledger.claim("route"), "r", answer(claim))
        assert redis.exists(f"fb:draft:{job_id}")
        end(job_id)
        assert not redis.exists(f"fb:draft:{job_id}")
        assert ledger.claim("bedrock") is None


def test_a_job_forgotten_while_it_runs_cannot_come_back(ledger, redis):
    (job_id,) = put(ledger, job(egress="allow"))
    claim = ledger.claim("route")
    ledger.forget(job_id)
    for move in ("route", "escalate", "retry", "later", "settle"):
        with pytest.raises(Lost):
            MOVES[move](ledger, claim)
    assert ledger.renew([claim]) == [claim]
    assert not [key for key in redis.keys() if b"acme" in key]


def test_of_jobs_that_are_settled_together_each_that_cannot_be_is_named_and_no_other_is_hurt(
    ledger, redis
):
    put(ledger, *(job(tenant) for tenant in ("a", "b", "c")))
    claims = ledger.claim_many("route", 3)
    ledger.cancel(claims[0].id)
    key = f"fb:waiting:route:interactive:{claims[1].tenant}"
    redis.set(key, "no zset")
    states = ledger.settle_many([(claim, answer(claim)) for claim in claims])
    assert isinstance(states[0], Lost)
    assert isinstance(states[1], Unavailable)
    assert states[2] == "done"
    assert [ledger.record(claim.id).state for claim in claims] == ["cancelled", "running", "done"]
    redis.delete(key)
    assert ledger.settle(claims[1], answer(claims[1])) == "done"


def test_large_answers_are_settled_in_several_runs_of_the_script(ledger, redis, monkeypatch):
    monkeypatch.setattr(result, "MAX_BYTES_PER_RUN", 100)
    put(ledger, *(job() for _ in range(5)))
    claims = ledger.claim_many("route", 5)
    redis.config_resetstat()
    states = ledger.settle_many([(claim, answer(claim, "short " * 20)) for claim in claims])
    assert states == ["done"] * 5
    assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] > 1
    assert ledger.settle_many([]) == []


def test_the_watchers_of_a_job_that_never_ends_expire(ledger, redis):
    one = job()
    ledger.create([one], "fb:wake:acme:1")
    assert redis.pttl(f"fb:watchers:{one.id}") > 0
    ledger.watch(one.id, "fb:wake:acme:2")
    assert redis.scard(f"fb:watchers:{one.id}") == 2


def test_a_stream_of_the_wrong_type_does_not_keep_a_job_from_ending(ledger, redis):
    one = job()
    ledger.create([one], "fb:wake:acme:1")
    redis.set("fb:wake:acme:1", "no stream")
    redis.sadd(f"fb:watchers:{one.id}", "precious")
    redis.set("precious", "1")
    assert ledger.cancel(one.id)
    assert redis.ttl("precious") == redis.ttl("fb:wake:acme:1") == -1


def test_doorbells_of_jobs_that_ended_unworked_do_not_pile_up(ledger, redis):
    for _ in range(6):
        for job_id in put(ledger, *(job() for _ in range(250))):
            ledger.cancel(job_id)
    put(ledger, job())
    ledger.sweep()
    assert redis.llen("route") == 1_001


def test_a_damaged_job_costs_no_other_job_its_claim_if_redis_goes_away(ledger, redis, monkeypatch):
    damaged, whole = put(ledger, job("a"), job("b"))
    redis.hset(f"fb:job:{damaged}", "kind", "unknown")
    run = ledger._transitions.run

    def away(script, *args):
        if script == "settle":
            raise Unavailable("no Redis")
        return run(script, *args)

    monkeypatch.setattr(ledger._transitions, "run", away)
    assert [claim.id for claim in ledger.claim_many("route", 5)] == [whole]


def test_a_draft_of_the_wrong_type_costs_no_other_job_its_claim(ledger, redis):
    first, forged, last = put(ledger, job("a"), job("b"), job("c"))
    redis.hset(f"fb:job:{forged}", "attempts", 9)
    redis.lpush(f"fb:draft:{forged}", "no answer")
    assert {claim.id for claim in ledger.claim_many("route", 5)} == {first, last}
    assert ledger.record(forged).state == "failed"
    assert not redis.exists(f"fb:draft:{forged}", f"fb:answer:{forged}")
