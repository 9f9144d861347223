"""Shards on the ledger: their order, their share, and what a producer cannot make of them."""

import pytest

from forebay.routing.bulk.bulks import Bulks
from forebay.routing.bulk.row_result import RowResult, counts
from forebay.routing.bulk.shards import RisingRow, Shards, kept_results, open_shard
from forebay.routing.errors import EgressDenied, InvalidJob, Lost, Unavailable, UnknownJob
from forebay.routing.jobs import Receipt, Verdict, new_id
from forebay.routing.ledger.dead_letters import DeadLetters
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, job
from shards import put, shard

SURE = Verdict(probability=0.5, version="none")
DONE = RowResult(status="done", content={"label": "billing"}, model="echo")


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=100, max_attempts=3), BELL)


def routed(ledger, *shards):
    """Put shards on the ledger and route them to the local lane."""
    put(ledger, *shards)
    for _ in shards:
        claim = ledger.claim("route", shards=True)
        ledger.route(claim, "local.default", claim.record.egress, "bulk", SURE)


def receipt(claim):
    return Receipt(**claim.record.heading(), status="done", lane="local")


def settle(ledger, claim, results, rising=()):
    Shards(ledger).settle(claim, receipt(claim), results, counts(results), rising)


def test_a_shard_waits_apart_from_jobs(ledger):
    made, single = shard("a", "b"), job("acme")
    put(ledger, made)
    ledger.create([single])
    assert ledger.depths() == {"route": 1, "route:rows": 1}
    assert ledger.claim("route").id == single.id
    assert ledger.claim("route") is None
    claim = ledger.claim("route", shards=True)
    assert (claim.id, claim.record.rows, claim.record.bulk) == (made.id, 2, made.bulk)
    assert open_shard(claim) == made
    assert ledger.claim("route", shards=True) is None


def test_two_tenants_share_by_rows_and_not_by_shards(ledger):
    small = [shard(*["x"] * 10, tenant="acme") for _ in range(40)]
    large = [shard(*["x"] * 100, tenant="globex") for _ in range(4)]
    routed(ledger, *small, *large)
    rows = {"acme": 0, "globex": 0}
    while min(rows.values()) < 300:
        claim = ledger.claim("local.default", shards=True)
        rows[claim.id.partition(".")[0]] += claim.record.rows
        assert abs(rows["acme"] - rows["globex"]) <= 100


def test_shards_of_a_paused_bulk_cost_their_tenant_no_turns_of_its_rows(ledger):
    paused = [shard(*["x"] * 100) for _ in range(20)]
    mine = [shard("x") for _ in range(4)]
    others = [shard("x", tenant="globex") for _ in range(40)]
    routed(ledger, *paused, *mine, *others)
    for each in paused:
        Bulks(ledger).set_state(each.bulk, "paused")
    claimed = [ledger.claim("local.default", shards=True).id for _ in range(40)]
    assert {each.id for each in mine} < set(claimed)


def test_many_shards_of_a_paused_bulk_do_not_hide_another_bulk(ledger):
    bulk = new_id("acme")
    paused = [shard("x", bulk=bulk) for _ in range(200)]
    other = shard("x")
    routed(ledger, *paused, other)
    Bulks(ledger).set_state(bulk, "paused")
    claim = ledger.claim("local.default", shards=True)
    assert claim.id == other.id


def test_only_the_first_shard_of_a_local_queue_rings_and_the_sweeper_rings_for_idle_workers(
    ledger, redis
):
    ledger.serve("one", ["local.default"], 60)
    ledger.serve("two", ["local.default"], 60)
    routed(ledger, *[shard("x") for _ in range(5)])
    assert redis.llen("local.default") == 1
    redis.delete("local.default")
    ledger.sweep()
    assert redis.llen("local.default") == 2
    ledger.sweep()
    assert redis.llen("local.default") == 2


def test_the_results_and_the_rows_that_go_up_are_stored_in_one_step(ledger):
    made = shard("a", "b", egress="allow")
    routed(ledger, made)
    claim = ledger.claim("local.default", shards=True)
    row = made.job(1, "allow")
    up = RowResult(status="up", job=row.id)
    settle(ledger, claim, [DONE, up], [RisingRow(row, ("bulk", "check_failed:label"), None)])
    (result,) = Shards(ledger).results([made.id])
    assert result.rows == [DONE, up]
    child = ledger.claim("bedrock")
    assert (child.id, child.record.bulk, child.record.rows) == (row.id, made.bulk, 0)
    assert child.record.reasons == ("bulk", "check_failed:label")
    assert child.job().request == row.request
    with pytest.raises(Lost):
        settle(ledger, claim, [DONE, up])
    assert Bulks(ledger).get(made.bulk).counters["rows_done"] == 1


def test_a_row_that_went_up_before_redis_lost_its_shard_counts_once(ledger, redis):
    made = shard("a", egress="allow")
    for _ in range(2):
        routed(ledger, made)
        claim = ledger.claim("local.default", shards=True)
        up = RowResult(status="up", job=made.row_id(0))
        settle(ledger, claim, [up], [RisingRow(made.job(0, "allow"), (), None)])
        redis.delete(f"fb:job:{made.id}")
    assert Bulks(ledger).get(made.bulk).counters["rows_up"] == 1


def test_a_shard_that_may_not_leave_sends_no_row_up(ledger, redis):
    made = shard("a", egress="allow")
    routed(ledger, made)
    claim = ledger.claim("local.default", shards=True)
    redis.hset(f"fb:job:{made.id}", "egress", "deny")
    row = made.job(0, "allow")
    with pytest.raises(EgressDenied):
        settle(ledger, claim, [RowResult(status="up", job=row.id)], [RisingRow(row, (), None)])
    assert ledger.claim("bedrock") is None
    assert ledger.record(made.id).state == "running"


def test_a_row_of_another_tenant_cannot_be_sent_up(ledger, redis):
    made, foreign = shard("a", egress="allow"), job("globex")
    routed(ledger, made)
    claim = ledger.claim("local.default", shards=True)
    with pytest.raises(Unavailable, match="refused"):
        settle(ledger, claim, [DONE], [RisingRow(foreign, (), None)])
    assert not redis.exists(f"fb:job:{foreign.id}")


def test_kept_results_belong_to_the_shard_until_it_ends(ledger):
    made = shard("a", "b")
    routed(ledger, made)
    claim = ledger.claim("local.default", shards=True)
    Shards(ledger).keep(claim, [DONE, None])
    ledger.retry(claim, "engine_busy", counted=False)
    again = ledger.claim("local.default", shards=True)
    assert kept_results(again, 2) == [DONE, None]
    assert kept_results(again, 3) == [None] * 3
    ledger.cancel(made.id)
    assert ledger.redis.get(f"fb:draft:{made.id}") is None


def test_a_shard_that_is_dead_gives_the_rows_that_were_answered(ledger):
    made = shard("a", "b")
    routed(ledger, made)
    for _ in range(3):
        claim = ledger.claim("local.default", shards=True)
        Shards(ledger).keep(claim, [DONE, None])
        ledger.retry(claim, "engine_died")
    (result,) = Shards(ledger).results([made.id])
    assert result.rows == [DONE, None]


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_a_shard_that_is_cut_short_gives_the_rows_that_were_answered(ledger, end):
    made = shard("a", "b")
    routed(ledger, made)
    claim = ledger.claim("local.default", shards=True)
    Shards(ledger).keep(claim, [DONE, None])
    if end == "cancelled":
        ledger.cancel(made.id)
    else:
        ledger.redis.zadd("fb:deadlines:acme", {made.id: 1})
        ledger.redis.hset(f"fb:job:{made.id}", "deadline", "1")
        ledger.sweep()
    (result,) = Shards(ledger).results([made.id])
    assert (result.receipt.status, result.rows) == (end, [DONE, None])
    assert 0 < ledger.redis.ttl(f"fb:answer:{made.id}") <= ledger.settings.retention_s
    ledger.forget(made.id)
    assert not ledger.redis.keys(f"fb:*:{made.id}")


def test_a_dead_shard_is_listed_and_not_replayed(ledger):
    made = shard("a")
    routed(ledger, made)
    for _ in range(3):
        ledger.retry(ledger.claim("local.default", shards=True), "engine_died")
    letters = DeadLetters(ledger, "acme")
    assert [dead.id for dead in letters.list()] == [made.id]
    with pytest.raises(InvalidJob, match="bulk retry"):
        letters.replay(made.id)
    assert letters.bury(made.id)


def test_an_unknown_shard_is_said_to_be_unknown(ledger):
    (result,) = Shards(ledger).results([new_id("acme")])
    assert isinstance(result, UnknownJob)
    made = shard("a")
    put(ledger, made)
    assert Shards(ledger).results([made.id]) == [None]


def test_a_bulk_is_listed_changed_and_refuses_what_makes_no_sense(ledger):
    bulks = Bulks(ledger)
    made = shard("a")
    put(ledger, made, max_nusd=5)
    (record,) = bulks.list("acme")
    assert (record.id, record.state, record.max_nusd) == (made.bulk, "running", 5)
    assert record.about == {"source": "test"}
    assert bulks.list("globex") == []
    assert bulks.set_state(made.bulk, "paused").state == "paused"
    assert bulks.set_state(made.bulk, "cancelled").state == "cancelled"
    with pytest.raises(InvalidJob):
        bulks.set_state(made.bulk, "running")
    with pytest.raises(UnknownJob):
        bulks.get(new_id("acme"))


def test_a_forged_record_of_a_bulk_stops_nothing(ledger, redis):
    made = shard("a")
    routed(ledger, made)
    redis.hset(f"fb:bulk:{made.bulk}", mapping={"rows_done": "many", "state": "dancing"})
    claim = ledger.claim("local.default", shards=True)
    settle(ledger, claim, [DONE])
    assert ledger.record(made.id).state == "done"
    with pytest.raises(InvalidJob):
        Bulks(ledger).get(made.bulk)
    assert Bulks(ledger).list("acme") == []
