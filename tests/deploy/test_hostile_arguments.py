"""Every argument of every script that a producer can run, hostile, under its own user of Redis."""

from __future__ import annotations

import contextlib

import pytest
import redis as redis_py

import redis_acl as acl
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Job, Summarize, new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.scripts import digest
from ledger_jobs import answer
from local.fleet import Fleet

BELL = '{"id": "@RING@"}'
FIELDS = ["kind", "summarize", "egress", "deny", "priority", "bulk", "deadline", ""]

#: Keys of the fleet and of another tenant that a worker may write, and values that are no names.
HOSTILE = (
    "fb:leases", "fb:deadlines", "fb:later", "fb:depth", "fb:clock", "fb:full", "fb:cache-secret",
    "route", "bedrock", "local.default", "unacked", "fb:turn:route:interactive",
    "fb:waiting:route:interactive:globex", "fb:spend:day:1", "fb:wake:globex:1",
    "fb:wake:acme", "fb:idempotency:globex:1", "fb:answer:globex.1", "globex.1", "../acme", "*",
    "", "nan", "inf", "-1", "1e999", "x" * 5000, "acme.1\n", "bedrock:interactive:globex",
)  # fmt: skip


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Start a Redis with users; yield the clients of a producer, of a worker and of an operator."""
    folder = tmp_path_factory.mktemp("hostile")
    passwords = acl.write(folder / "users", ["acme", "globex"])
    with Fleet(folder / "fleet") as fleet:
        fleet.start_redis(aclfile=str(folder / "users" / "users.acl"))
        place = fleet.url.removeprefix("redis://")
        yield {
            name: redis_py.Redis.from_url(f"redis://{name}:{word}@{place}")
            for name, word in passwords.items()
        }


@pytest.fixture
def world(guarded):
    """Return a job of each tenant, and all keys that are not the attacker's."""
    operator, worker = guarded["operator"], guarded["worker"]
    operator.delete("fb:none", *operator.scan_iter("*"))
    ledger = Ledger(worker, Settings(), BELL)
    ledger.load_scripts()
    mine, theirs = (
        Job(tenant=tenant, request=Summarize(text="a text")) for tenant in ("acme", "globex")
    )
    assert ledger.create([mine, theirs]) == [mine.id, theirs.id]
    return guarded, ledger, mine.id, theirs.id


def calls(mine: str) -> dict[str, list[str]]:
    new = new_id("acme")
    return {
        "create": [new, "route", BELL, "zx", "", "", "", "1000", *FIELDS],
        "replay": [mine, new, "route", BELL, "zx", "1000", *FIELDS],
        "cancel": [mine, "1000"],
        "forget": [mine, ""],
        "watch": [mine, "fb:wake:acme:1"],
        "position": [mine],
    }


PLACES = [(name, i) for name, words in calls("acme.1").items() for i in range(len(words))]
#: What a producer may change that is not its tenant's: see SECURITY.md.
SHARED = {b"route", b"fb:rings", b"fb:depth", b"fb:since", b"fb:deadlines", b"fb:promised",
          b"fb:newcomers:route:interactive", b"fb:newcomers:route:bulk"}  # fmt: skip


def others(operator) -> dict[bytes, bytes]:
    """Return all keys that are neither the attacker's tenant's nor shared."""
    return {
        key: operator.dump(key)
        for key in operator.scan_iter("*")
        if b"acme" not in key and key not in SHARED
    }


@pytest.mark.parametrize(("script", "place"), PLACES)
def test_no_argument_reaches_what_is_not_the_producers(world, script, place):
    guarded, _, mine, theirs = world
    before = others(guarded["operator"])
    for value in (*HOSTILE, theirs):
        words = calls(mine)[script]
        words[place] = value
        with contextlib.suppress(redis_py.ResponseError):
            guarded["producer-acme"].evalsha(digest(script), 0, *words)
        assert others(guarded["operator"]) == before, (script, place, value)
    assert guarded["operator"].hget(f"fb:job:{theirs}", "state") == b"waiting"


RECORD = ("state", "queue", "hop", "priority", "token", "egress", "reasons", "idempotency", "error",
          "replayed_as", "audit_of", "audited_as", "attempts", "created_us", "queued", "started",
          "queued_ms", "worked_ms", "fence", "deadline", "cost_nusd")  # fmt: skip


@pytest.mark.parametrize("field", RECORD)
@pytest.mark.parametrize("deed", ["cancel", "forget", "claim", "sweep", "repair"])
def test_no_field_of_a_record_makes_a_worker_act_on_what_is_not_the_jobs(world, field, deed):
    guarded, ledger, mine, theirs = world
    operator = guarded["operator"]
    operator.mset({f"fb:precious:{i}": "1" for i in range(2)})
    if deed == "claim":
        ledger.cancel(theirs)
    keys = ("fb:precious:0", "fb:precious:1", f"fb:job:{theirs}")
    before = [operator.dump(key) for key in keys]
    for value in (*HOSTILE, theirs, "fb:precious:0"):
        guarded["producer-acme"].hset(f"fb:job:{mine}", field, value)
        act(ledger, deed, mine)
        assert [operator.dump(key) for key in keys] == before, value
        assert not [key for key in operator.scan_iter("*") if not is_of_the_fleet(key)]


def is_of_the_fleet(key: bytes) -> bool:
    return key.startswith((b"fb:", b"local.")) or key in {b"route", b"bedrock", b"embed"}


def act(ledger: Ledger, deed: str, mine: str) -> None:
    with contextlib.suppress(ForebayError):  # the record is forged: an error is fine, harm is not
        if deed == "sweep":
            ledger.sweep()
        elif deed == "repair":
            ledger.repair()
        elif deed == "cancel":
            ledger.cancel(mine)
        elif deed == "forget":
            ledger.forget(mine)
        elif claim := ledger.claim("route"):
            ledger.settle(claim, answer(claim))


@pytest.mark.parametrize("stream", HOSTILE)
def test_a_worker_writes_to_no_stream_that_a_producer_put_among_the_watchers(world, stream):
    guarded, ledger, mine, _ = world
    operator = guarded["operator"]
    guarded["producer-acme"].sadd(f"fb:watchers:{mine}", stream)
    ledger.cancel(mine)
    assert operator.type(stream) != b"stream"
