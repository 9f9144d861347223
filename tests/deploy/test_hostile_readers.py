"""A tenant writes what it may into its keys: whoever reads them for others still reads the others.

The readers are the sweeper, its metrics, operators' views, and the gateway.
"""

from __future__ import annotations

import contextlib

import pytest
import redis as redis_py

from forebay.producers.gateway.webhooks.deliveries import Deliveries, _after
from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.books.job_history import History
from forebay.routing.bulk.bulks import Bulks
from forebay.routing.bulk.shards import Shards
from forebay.routing.errors import InvalidJob
from forebay.routing.fleets.moving.draining import _unended as unended
from forebay.routing.ledger.dead_letters import DeadLetters
from forebay.routing.ledger.ends import ends_key
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.overview.all_jobs import AllJobs
from forebay.routing.overview.job_filter import JobFilter
from forebay.routing.overview.snapshot import Snapshots
from forebay.routing.overview.waiting import WaitingJobs
from forebay.routing.settings import Settings
from forebay.workers.frontier.batch.batched_jobs import waiting_jobs
from forebay.workers.sweeper import Sweeper
from forebay.workers.telemetry.metrics.ledger_metrics import LedgerMetrics
from ledger_jobs import BELL, job, put
from patience import until

pytestmark = pytest.mark.slow

ODD = b"acme.\xff\xfe"  # no UTF-8
MIB = 2**20


@pytest.fixture
def ledgers(users):
    """Return the ledger under each user, in an empty Redis."""
    users.empty()
    settings = Settings(sweep_s=0.05)
    found = {
        name: Ledger(users[name], settings, BELL)
        for name in ("worker", "sweeper", "operator", "gateway", "producer-acme")
    }
    found["worker"].load_scripts()
    return found


def odd_deadline(acme, mine):
    acme.hset(b"fb:job:" + ODD, mapping={"state": "waiting", "deadline": "1", "kind": "summarize"})
    acme.zadd("fb:deadlines:acme", {ODD: 1})


def odd_depth(acme, mine):
    acme.hincrby("fb:depth", ODD, 5)


def odd_newcomer(acme, mine):
    acme.sadd("fb:newcomers:route:interactive", ODD)


def odd_waiting_job(acme, mine):
    acme.zadd("fb:waiting:route:interactive:acme", {ODD: 0, "x" * 100_000: 1, "": 2})


def odd_cancelled_job(acme, mine):
    acme.hset(f"fb:job:{mine}", mapping={"state": "cancelled", "kind": "zzz"})
    acme.lpush("fb:cancelled", mine, ODD, "x" * 1_000_000)


def endless_age(acme, mine):
    acme.hset(f"fb:job:{mine}", "created", "9" * 5_000)


def deep_record(acme, mine):
    acme.hset(f"fb:job:{mine}", mapping={"verdict": "[" * 50_000, "error": b"\xed\xa0\x80"})


def odd_bulks(acme, mine):
    acme.hset("fb:bulk:acme.b", mapping={"state": "running", "created": "1", "about": "[" * 10**5})
    acme.zadd("fb:bulks:acme", {ODD: 1, "acme.b": 2})


ATTACKS = (
    odd_deadline, odd_depth, odd_newcomer, odd_waiting_job, odd_cancelled_job, endless_age,
    deep_record, odd_bulks,
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_tenant_writes_into_its_keys_stops_nobody_who_reads_for_others(
    users, ledgers, attack
):
    mine, theirs = put(ledgers["worker"], job("acme"), job("globex"))
    operator, gateway = ledgers["operator"], ledgers["gateway"]
    views = (
        operator.depths,
        lambda: Snapshots(operator).take(),
        lambda: DeadLetters(operator, "acme").list(),
        lambda: Bulks(gateway).list("acme"),
        lambda: Shards(gateway).results([mine, theirs]),
        lambda: ledgers["sweeper"].records(ledgers["sweeper"].sweep().moved),
        ledgers["sweeper"].repair,
        lambda: History(users["sweeper"]).sample(),
        lambda: list(LedgerMetrics(ledgers["sweeper"], 50).collect()),
    )
    for view in views:
        attack(users["producer-acme"], mine)
        view()
    found = AllJobs(operator).find(JobFilter()).records
    assert theirs in {record.id for record in found}
    assert gateway.status(theirs).state == "waiting"
    assert gateway.results([mine, theirs])[1] is None
    claimed = {claim and claim.id for claim in (ledgers["worker"].claim("route") for _ in range(3))}
    assert theirs in claimed


@pytest.mark.parametrize("attack", [odd_deadline, odd_depth, odd_cancelled_job])
def test_no_tenant_ends_the_sweeper(users, ledgers, attack):
    mine, theirs = put(ledgers["worker"], job("acme"), job("globex"))
    sweeper = Sweeper(ledgers["sweeper"])
    try:
        attack(users["producer-acme"], mine)
        users["operator"].zadd("fb:later", {theirs: 1})  # due, so the next sweep moves it
        until(lambda: not users["operator"].exists("fb:later"), 20)
        assert sweeper._thread.is_alive()
    finally:
        sweeper.close()


FAMILIES = ("job", "content", "answer", "draft", "asked", "stream", "cached", "watchers", "bulk")
WRITES = {
    "string": lambda redis, key: redis.set(key, "x"),
    "hash": lambda redis, key: redis.hset(key, "x", "x"),
    "set": lambda redis, key: redis.sadd(key, "x"),
    "zset": lambda redis, key: redis.zadd(key, {"x": 1}),
    "stream": lambda redis, key: redis.xadd(key, {"x": "x"}),
    "renamed": lambda redis, key: redis.rename("fb:content:acme.0", key),
}
TYPES = {"job": "hash", "bulk": "hash", "content": "string", "watchers": "set"}


@pytest.mark.parametrize("family", [*FAMILIES, "dead", "bulks", "held", "promised"])
def test_a_tenant_gives_no_key_of_its_own_another_type(users, family):
    users.empty()
    acme = users["producer-acme"]
    acme.set("fb:content:acme.0", "x")
    names = {"stream": "acme:acme.1", "dead": "acme", "bulks": "acme", "held": "acme",
             "promised": "acme"}  # fmt: skip
    key, made = f"fb:{family}:{names.get(family, 'acme.1')}", set()
    for kind, write in WRITES.items():
        acme.delete(key)
        with contextlib.suppress(redis_py.ResponseError):
            write(acme, key)
            made.add(kind)
    assert made <= {TYPES.get(family, "zset" if family == "bulks" else "none")}


def sent_bytes(users, read) -> int:
    """Return how many bytes Redis sends while somebody reads."""
    before = users["sweeper"].info("stats")["total_net_output_bytes"]
    with contextlib.suppress(InvalidJob):
        read()
    return users["sweeper"].info("stats")["total_net_output_bytes"] - before


@pytest.mark.parametrize("field", ["x", "receipt"])
def test_no_reader_is_sent_a_record_that_is_larger_than_any(users, ledgers, field):
    mine, theirs = put(ledgers["worker"], job("acme"), job("globex"))
    acme, gateway = users["producer-acme"], ledgers["gateway"]
    acme.hset(f"fb:job:{mine}", mapping={field: "x" * (20 * MIB), "state": "cancelled"})
    acme.lpush("fb:cancelled", mine)
    acme.hset("fb:bulk:acme.b", "about", "x" * (20 * MIB))
    acme.zadd("fb:bulks:acme", {"acme.b": 1})
    reads = (
        lambda: gateway.results([mine, theirs]),
        lambda: Shards(gateway).results([mine, theirs]),
        lambda: Bulks(gateway).list("acme"),
        lambda: AllJobs(ledgers["operator"]).find(JobFilter()),
        lambda: ledgers["sweeper"].records(ledgers["sweeper"].sweep().moved),
        ledgers["sweeper"].repair,
    )
    for read in reads:
        assert sent_bytes(users, read) < MIB


def giant_field(acme, mine):
    acme.hset(f"fb:job:{mine}", mapping=dict.fromkeys(("created", "hop", "state"), GIANT))
    acme.hset("fb:bulk:acme.b", "state", GIANT)


def giant_names(acme, mine):
    acme.zadd("fb:waiting:route:interactive:acme", {GIANT: 0})
    acme.zadd("fb:bulks:acme", {GIANT: 0})
    acme.sadd("fb:newcomers:route:interactive", GIANT)
    acme.hincrby("fb:depth", GIANT, 1)


def many_names(acme, mine):
    with acme.pipeline(transaction=False) as pipe:
        for i in range(20_000):
            pipe.hincrby("fb:depth", f"local.forged-name-{i}", 1)
        pipe.execute()


def giant_content(acme, mine):
    acme.set(f"fb:content:{mine}", GIANT)


GIANT = "x" * (20 * MIB)


@pytest.mark.parametrize("attack", [giant_field, giant_names, many_names, giant_content])
def test_no_reader_of_many_jobs_is_sent_what_a_tenant_forged(users, ledgers, attack):
    mine, theirs = put(ledgers["worker"], job("acme"), job("globex"))
    operator, worker = ledgers["operator"], ledgers["worker"]
    reads = (
        operator.depths,
        ledgers["producer-acme"].depths,
        WaitingJobs(operator.redis).lines,
        lambda: Bulks(ledgers["gateway"]).list("acme"),
        lambda: Bulks(ledgers["gateway"]).state("acme.b"),
        lambda: Snapshots(operator).take(),
        lambda: History(users["sweeper"]).sample(),
        lambda: list(LedgerMetrics(ledgers["sweeper"], 50).collect()),
        lambda: BedrockBatches(worker.redis).is_awaited("b", [mine, theirs]),
        lambda: waiting_jobs(worker, "b", [mine, theirs]),
        lambda: unended(users["operator"], "acme"),
    )
    attack(users["producer-acme"], mine)
    for number, read in enumerate(reads):
        assert sent_bytes(users, read) < 2 * MIB, number


def test_ends_that_a_tenant_forges_are_told_to_nobody_else_and_fill_no_memory(users, ledgers):
    acme, deliveries = users["producer-acme"], Deliveries(users["gateway"])
    last = 2**64 - 1
    acme.xadd(ends_key("acme"), {ODD: ODD, "id": ODD}, id=f"5-{last}")
    (end,) = deliveries.ends("acme")
    deliveries.make("acme", end, [])
    assert deliveries.ends("acme") == []
    assert _after(f"{last}-{last}") == f"{last}-0"
    for _ in range(4):
        acme.xadd(ends_key("acme"), {"id": "x" * (20 * MIB)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forebay.producers.gateway.webhooks.deliveries.MAX_ENDS_BYTES", 50 * MIB)
        assert sent_bytes(users, lambda: deliveries.ends("acme")) < MIB
