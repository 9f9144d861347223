"""Every argument of every script that a producer can run, hostile, under its own user of Redis."""

from __future__ import annotations

import contextlib

import pytest
import redis as redis_py

from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Job, Summarize, new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.scripts import digest
from ledger_jobs import answer

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


@pytest.fixture
def world(users):
    """Return a job of each tenant, and all keys that are not the attacker's."""
    users.empty()
    worker = users["worker"]
    ledger = Ledger(worker, Settings(), BELL)
    ledger.load_scripts()
    mine, theirs = (
        Job(tenant=tenant, request=Summarize(text="a text")) for tenant in ("acme", "globex")
    )
    assert ledger.create([mine, theirs]) == [mine.id, theirs.id]
    return users, ledger, mine.id, theirs.id


def calls(mine: str) -> dict[str, list[str]]:
    new = new_id("acme")
    return {
        "create": ["route", BELL, "1000", "1", new, "zx", str(len(FIELDS)), *FIELDS, "", "", ""],
        "replay": [mine, new, "route", BELL, "zx", "1000", *FIELDS],
        "cancel": [mine, "1000"],
        "forget": [mine, ""],
        "watch": [mine, "fb:wake:acme:1"],
        "position": [mine],
    }


PLACES = [(name, i) for name, words in calls("acme.1").items() for i in range(len(words))]
#: What a producer may change that is not its tenant's: see SECURITY.md.
SHARED = {b"route", b"fb:rings", b"fb:depth", b"fb:deadlines",
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
    users, _, mine, theirs = world
    before = others(users["operator"])
    for value in (*HOSTILE, theirs):
        words = calls(mine)[script]
        words[place] = value
        with contextlib.suppress(redis_py.ResponseError):
            users["producer-acme"].evalsha(digest(script), 0, *words)
        assert others(users["operator"]) == before, (script, place, value)
    assert users["operator"].hget(f"fb:job:{theirs}", "state") == b"waiting"


RECORD = ("state", "queue", "hop", "priority", "token", "egress", "reasons", "idempotency", "error",
          "replayed_as", "audit_of", "audited_as", "attempts", "created_us", "queued", "started",
          "queued_ms", "worked_ms", "fence", "deadline", "cost_nusd")  # fmt: skip


@pytest.mark.parametrize("field", RECORD)
@pytest.mark.parametrize("deed", ["cancel", "forget", "claim", "sweep", "repair"])
def test_no_field_of_a_record_makes_a_worker_act_on_what_is_not_the_jobs(world, field, deed):
    users, ledger, mine, theirs = world
    operator = users["operator"]
    operator.mset({f"fb:precious:{i}": "1" for i in range(2)})
    if deed == "claim":
        ledger.cancel(theirs)
    keys = ("fb:precious:0", "fb:precious:1", f"fb:job:{theirs}")
    before = [operator.dump(key) for key in keys]
    for value in (*HOSTILE, theirs, "fb:precious:0"):
        users["producer-acme"].hset(f"fb:job:{mine}", field, value)
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
    users, ledger, mine, _ = world
    operator = users["operator"]
    users["producer-acme"].sadd(f"fb:watchers:{mine}", stream)
    ledger.cancel(mine)
    assert operator.type(stream) != b"stream"
