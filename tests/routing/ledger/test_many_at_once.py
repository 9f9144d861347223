"""Jobs that one script moves together: their counts, their doorbells, and errors among them."""

from __future__ import annotations

import json

import pytest

from forebay.routing.errors import KeyReused, Unavailable
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.lanes.published_lanes import PublishedLanes
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.settings import Settings
from forebay.routing.store.scripts import digest
from ledger_jobs import BELL, job


def ledger_of(redis, **settings) -> Ledger:
    return Ledger(redis, Settings(**settings), BELL)


def test_each_job_of_a_batch_waits_is_counted_and_has_its_doorbell(redis):
    ledger = ledger_of(redis)
    made = [job("acme" if i % 2 else "globex", egress="allow") for i in range(30)]
    assert ledger.create(made) == [each.id for each in made]
    assert redis.hget("fb:depth", "route") == b"30"
    bells = redis.lrange("route", 0, -1)
    assert len({json.loads(bell)["id"] for bell in bells}) == 30
    sizes = [int(redis.hget(f"fb:job:{each.id}", "bytes")) for each in made]
    held = [int(redis.get(f"fb:held:{tenant}")) for tenant in ("acme", "globex")]
    assert sum(sizes) == sum(held)
    waiting = [redis.zcard(f"fb:waiting:route:interactive:{name}") for name in ("acme", "globex")]
    assert waiting == [15, 15]
    claimed = [claim.id for claim in ledger.claim_many("route", 30)]
    assert sorted(claimed) == sorted(each.id for each in made)


def test_a_job_that_comes_twice_in_a_batch_is_created_once(redis):
    ledger, twice = ledger_of(redis), job()
    assert ledger.create([twice, job(), twice])[::2] == [twice.id] * 2
    assert redis.hget("fb:depth", "route") == b"2"
    first, other = job(idempotency_key="k"), job(idempotency_key="k", priority="bulk")
    created = ledger.create([first, job(idempotency_key="k"), other])
    assert created[:2] == [first.id] * 2
    assert isinstance(created[2], KeyReused)
    assert redis.llen("route") == 3


def test_a_batch_is_cut_where_the_queue_is_full(redis):
    ledger = ledger_of(redis, max_waiting=7)
    replies = ledger.create([job() for _ in range(12)])
    assert [isinstance(reply, Unavailable) for reply in replies] == [False] * 7 + [True] * 5
    assert redis.llen("route") == 7


def test_a_batch_is_not_cut_by_a_forged_depth(redis):
    redis.hset("fb:depth", "route", 1_000)
    ledger = ledger_of(redis, max_waiting=7)
    assert not any(isinstance(reply, Exception) for reply in ledger.create([job() for _ in "1234"]))
    assert redis.hget("fb:depth", "route") == b"4"


@pytest.mark.parametrize("first", ["homely", "default"])
def test_what_a_policy_says_of_one_tenant_is_not_said_of_another_in_the_batch(
    redis, tmp_path, first
):
    path = tmp_path / "policy.toml"
    path.write_text("[tenants.homely]\nforce_deny = true\n")
    PublishedLanes(redis, PolicyFile(path)).publish()
    ledger = ledger_of(redis)
    made = sorted(
        [job(name, egress="allow", lane="local") for name in ("homely", "default") * 2],
        key=lambda each: each.tenant != first,
    )
    ledger.create(made)
    records = [ledger.record(each.id) for each in made]
    said = {(record.id.partition(".")[0], record.egress, record.reasons[-1]) for record in records}
    assert said == {
        ("homely", "deny", "tenant_forced_deny"),
        ("default", "allow", "pinned_local"),
    }
    assert redis.llen("local.default") == 2  # these doorbells stand for all jobs of the lane


def test_an_error_stops_one_job_of_a_batch(redis):
    ledger, damaged = ledger_of(redis), job()
    redis.lpush(f"fb:job:{damaged.id}", "not a record")
    replies = ledger.create([job(), damaged, job()])
    assert [isinstance(reply, Exception) for reply in replies] == [False, True, False]
    assert redis.hget("fb:depth", "route") == b"2"
    assert redis.llen("route") == 2
    assert len(ledger.claim_many("route", 5)) == 2


def test_jobs_of_a_batch_take_over_no_field_of_another(redis):
    ledger = ledger_of(redis)
    variants = [
        {}, {}, {"egress": "allow"}, {"egress": "allow", "idempotency_key": "k"},
        {"egress": "allow"}, {"priority": "bulk"}, {"lane": "local"}, {}, {"idempotency_key": "l"},
        {},
    ]  # fmt: skip
    made = [job(**options) for options in variants]
    rows = [
        ledger._new_job(one, f"fb:wake:{one.tenant}:w" if i > 7 else "", "")
        for i, one in enumerate(made)
    ]
    assert ledger.put_on(rows) == [one.id for one in made]
    for i, one in enumerate(made):
        egress, priority, pin, key = redis.hmget(
            f"fb:job:{one.id}", "egress", "priority", "pin", "idempotency"
        )
        assert (egress.decode(), priority.decode()) == (one.egress, one.priority)
        assert pin == (b"local" if one.lane == "local" else None)
        assert bool(key) == bool(one.idempotency_key)
        assert redis.scard(f"fb:watchers:{one.id}") == (i > 7)


def test_a_job_after_one_whose_fields_cannot_be_read_takes_over_none(redis):
    ledger = ledger_of(redis)
    ledger.load_scripts()
    first, broken, last = job(), job(), job()
    fields = ["kind", "generate", "egress", "allow"]
    words = [first.id, "zx", len(fields), *fields, "", "", ""]
    words += [broken.id, "zx", 1, "kind", "", "", "", last.id, "zx", ""]
    made = redis.evalsha(digest("create"), 0, "route", BELL, 100, 0, *words)
    assert made[0] == [b"created", first.id.encode()]
    assert redis.hget(f"fb:job:{last.id}", "egress") != b"allow"
