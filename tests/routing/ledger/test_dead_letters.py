"""Dead jobs: kept with their reason, replayed once as new jobs, with no looser egress."""

from __future__ import annotations

import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet

from forebay.producers.cli import main as cli
from forebay.producers.client import Client
from forebay.routing.errors import EgressDenied, InvalidJob, Unavailable, UnknownJob
from forebay.routing.jobs import Answer, Job, Receipt, Summarize, Summary, Verdict, new_id
from forebay.routing.ledger.dead_letters import DeadLetters
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.encryption import PLAIN
from forebay.routing.store.scripts import transition
from ledger_jobs import BELL, walk

CANARY = "the-canary-in-the-job"
SURE = Verdict(probability=0.9, version="test")


def job(**options) -> Job:
    return Job(**{"tenant": "acme", "request": Summarize(text=CANARY), **options})


@pytest.fixture
def ledger(redis, redis_url):
    return Ledger(redis, Settings(redis_url=redis_url, max_attempts=1), BELL)


@pytest.fixture
def dead(ledger):
    return DeadLetters(ledger, "acme")


def die(ledger: Ledger, error: str = "engine_died", **options) -> str:
    """A job that somebody submitted and whose worker died."""
    made = ledger.create([job(**options)])[0]
    assert isinstance(made, str), made
    return fail(ledger, made, error)


def fail(ledger: Ledger, job_id: str, error: str = "engine_died") -> str:
    claim = ledger.claim("route")
    assert claim.id == job_id
    assert ledger.retry(claim, error) == "failed"
    return job_id


def finish(ledger: Ledger, job_id: str) -> None:
    claim = ledger.claim("route")
    assert claim.id == job_id
    content = Summary(text="short")
    base = {"id": claim.id, "kind": "summarize", "egress": "deny", "status": "done"}
    ledger.settle(claim, Answer(**base, lane="local", content=content))


def test_failed_jobs_are_listed_newest_first_and_jobs_that_ended_otherwise_are_not(ledger, dead):
    first = die(ledger)
    time.sleep(0.002)
    lasting = ledger.create([job()])[0]
    receipt = Receipt(
        id=lasting, kind="summarize", egress="deny", status="failed", error="too_long"
    )
    ledger.settle(ledger.claim("route"), receipt)
    ledger.cancel(ledger.create([job()])[0])
    finish(ledger, ledger.create([job()])[0])
    found = dead.list()
    assert [(one.id, one.error) for one in found] == [(lasting, "too_long"), (first, "engine_died")]
    assert found[1].receipt.reasons == ("engine_died",)
    assert [one.id for one in dead.list(limit=1)] == [lasting]
    assert DeadLetters(ledger, "globex").list() == []
    assert CANARY not in repr(found)


def used_up(ledger, claim):
    ledger.retry(claim, "unavailable", note="the engine is away")


def given_back_and_lost(ledger, claim):
    ledger.redis.zadd("fb:leases", {claim.id: 1})
    ledger.sweep()


def overdue(ledger, claim):
    ledger.redis.hset(f"fb:job:{claim.id}", "deadline", 1)
    ledger.redis.zadd("fb:deadlines:acme", {claim.id: 1})
    ledger.sweep()


def overdue_at_claim(ledger, claim):
    ledger.retry(claim, "unavailable", note="the engine is away", counted=False)
    ledger.redis.hset(f"fb:job:{claim.id}", "deadline", 1)
    ledger.claim("route")


def used_up_at_claim(ledger, claim):
    ledger.retry(claim, "throttled", note="slow down", counted=False)
    ledger.redis.hset(f"fb:job:{claim.id}", "attempts", 99)
    ledger.claim("route")


def cancelled(ledger, claim):
    ledger.retry(claim, "unavailable", note="the engine is away", counted=False)
    ledger.cancel(claim.id)


def stranded(ledger, claim):
    ledger.redis.hset(f"fb:job:{claim.id}", "state", "waiting")
    ledger.redis.zadd("fb:leases", {claim.id: 1})
    ledger.sweep()


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        (used_up, "unavailable", "the engine is away"),
        (used_up_at_claim, "throttled", "slow down"),
        (given_back_and_lost, "engine_died", "the worker of its last attempt died"),
        (overdue, "expired", "its deadline passed"),
        (overdue_at_claim, "expired", "its deadline passed"),
        (cancelled, "cancelled", "somebody cancelled it"),
        (stranded, "invalid_job", "its record is damaged"),
    ],
)
def test_the_receipt_says_why_in_every_way_of_ending_without_a_worker(ledger, end, error, words):
    made = ledger.create([job()])[0]
    end(ledger, ledger.claim("route"))
    (receipt,) = ledger.results([made])
    assert receipt.error == error
    assert words in receipt.error_note


def test_a_replay_is_a_new_job_with_the_old_ones_terms_and_a_link_both_ways(ledger, dead):
    terms = {
        "egress": "allow", "priority": "bulk", "lane": "local", "max_cost_usd": 0.25,
        "metadata": {"order": "17"}, "deadline": datetime.now(UTC) + timedelta(hours=1),
    }  # fmt: skip
    old = die(ledger, idempotency_key="k", **terms)
    new = dead.replay(old)
    claim = ledger.claim("route")
    assert (claim.id, claim.record.replay_of) == (new, old)
    assert claim.job() == job(id=new, **terms)
    assert dead.show(old).replayed_as == new
    assert dead.list() == []
    ledger.retry(claim, "engine_died")
    assert dead.show(new).receipt.replay_of == old


def test_the_answer_of_a_replay_names_the_dead_job(ledger, dead):
    old = die(ledger)
    new = dead.replay(old)
    finish(ledger, new)
    (answer,) = ledger.results([new])
    assert (answer.replay_of, answer.content.text) == (old, "short")


def test_replaying_again_gives_the_same_new_job_whatever_its_state(ledger, dead):
    old = die(ledger)
    new = dead.replay(old)
    assert dead.replay(old) == new
    claim = ledger.claim("route")
    assert dead.replay(old) == new
    assert ledger.retry(claim, "unavailable", counted=False) == "waiting"
    finish(ledger, new)
    assert dead.replay(old) == new
    assert ledger.claim("route") is None


def test_replays_from_many_threads_create_each_job_once(ledger, dead):
    old = [die(ledger) for _ in range(10)]
    with ThreadPoolExecutor(8) as pool:
        new = list(pool.map(dead.replay, old * 8))
    assert new == new[:10] * 8
    assert len(set(new)) == ledger.depths()["route"] == 10


def test_a_replay_that_died_as_well_is_replayed_in_its_place(ledger, dead):
    old = die(ledger)
    second = fail(ledger, dead.replay(old))
    assert [one.id for one in dead.list()] == [second]
    third = dead.replay(old)
    assert third == dead.replay(second) == dead.replay(old)
    assert ledger.record(third).replay_of == second
    assert ledger.depths()["route"] == 1


@pytest.mark.parametrize("gone", ["cancel", "forget"])
def test_a_job_can_be_replayed_again_if_its_replay_was_cancelled_or_forgotten(ledger, dead, gone):
    old = die(ledger)
    first = dead.replay(old)
    getattr(ledger, gone)(first)
    assert dead.replay(old) not in {first, old}


def test_a_policy_that_forced_deny_binds_the_replay_too(ledger, dead, redis):
    old = ledger.create([job(egress="allow")])[0]
    ledger.route(ledger.claim("route"), "local.default", "deny", "tenant_forced_deny", SURE)
    ledger.retry(ledger.claim("local.default"), "engine_died")
    with pytest.raises(EgressDenied):
        dead.replay(old, egress="allow")
    new = dead.replay(old)
    assert ledger.record(new).egress == "deny"
    assert ledger.claim("route").job().egress == "deny"


def test_egress_can_be_tightened_by_a_replay(ledger, dead):
    new = dead.replay(die(ledger, egress="allow"), egress="deny")
    assert ledger.claim("route").job().egress == "deny"
    assert ledger.record(new).egress == "deny"


def test_the_replay_script_itself_refuses_to_loosen_egress(ledger, redis):
    old, new = die(ledger), new_id("acme")
    keys = set(redis.keys())
    fields = ["kind", "summarize", "egress", "allow", "priority", "bulk", "deadline", ""]
    content = PLAIN.close(job(id=new, egress="allow").model_dump_json().encode())
    script = redis.register_script(transition("replay"))
    assert script(args=[old, new, "route", BELL, content, 1000, *fields]) == [b"egress_denied"]
    assert set(redis.keys()) == keys


def test_a_deadline_that_has_passed_is_dropped_only_when_asked(ledger, dead):
    old = die(ledger, deadline=datetime.now(UTC) + timedelta(seconds=0.3))
    time.sleep(0.31)
    with pytest.raises(InvalidJob) as caught:
        dead.replay(old)
    assert caught.value.field == "deadline"
    assert ledger.claim("route") is None
    dead.replay(old, deadline=None)
    assert ledger.claim("route").job().deadline is None


def test_a_replay_can_have_another_cap_and_a_later_deadline(ledger, dead):
    later = datetime.now(UTC) + timedelta(hours=1)
    dead.replay(die(ledger, max_cost_usd=0.01), max_cost_usd=0.5, deadline=later)
    replayed = ledger.claim("route").job()
    assert (replayed.max_cost_usd, replayed.deadline) == (0.5, later)
    with pytest.raises(InvalidJob):
        dead.replay(die(ledger), max_cost_usd=-1)


def test_a_job_that_is_not_dead_can_neither_be_replayed_nor_buried_nor_shown(ledger, dead):
    waiting = ledger.create([job()])[0]
    for verb in (dead.replay, dead.bury, dead.show, dead.job):
        with pytest.raises(InvalidJob, match="is not dead: waiting"):
            verb(waiting)
    assert ledger.status(waiting).state == "waiting"
    assert ledger.cancel(waiting)
    unknown, other = new_id("acme"), die(ledger, tenant="globex")
    for verb in (dead.replay, dead.bury, dead.show, dead.job):
        with pytest.raises(UnknownJob):
            verb(other)
    for verb in (dead.replay, dead.show, dead.job):
        with pytest.raises(UnknownJob):
            verb(unknown)
    assert not dead.bury(unknown)


def test_bury_leaves_nothing(ledger, dead, redis):
    old = die(ledger, idempotency_key="k")
    assert dead.bury(old)
    assert not dead.bury(old)
    assert dead.list() == []
    assert not [key for key in redis.keys() if b"acme" in key]


def test_dead_jobs_and_their_index_expire_with_the_retention(redis):
    ledger = Ledger(redis, Settings(max_attempts=1, retention_s=0.3), BELL)
    dead = DeadLetters(ledger, "acme")
    early = die(ledger)
    time.sleep(0.2)
    late = die(ledger)
    time.sleep(0.15)
    assert [one.id for one in dead.list()] == [late]
    with pytest.raises(UnknownJob):
        dead.replay(early)
    die(ledger)
    assert redis.zcard("fb:dead:acme") == 2, "the index was not trimmed"
    time.sleep(0.35)
    walk(ledger)  # it counts what the tenant still holds
    assert not [key for key in redis.keys() if b"acme" in key]


def test_a_replay_is_admitted_like_any_job(redis):
    ledger = Ledger(redis, Settings(max_attempts=1, max_waiting=1), BELL)
    dead = DeadLetters(ledger, "acme")
    old = die(ledger)
    ledger.create([job()])
    with pytest.raises(Unavailable) as caught:
        dead.replay(old)
    assert caught.value.retry_after
    assert [one.id for one in dead.list()] == [old]


def test_an_encrypted_content_is_replayed_encrypted(redis):
    keys = Settings(max_attempts=1, content_keys=Fernet.generate_key().decode())
    ledger = Ledger(redis, keys, BELL)
    dead = DeadLetters(ledger, "acme")
    new = dead.replay(die(ledger))
    assert redis.get(f"fb:content:{new}")[:1] == b"f"
    assert ledger.claim("route").job().request.text == CANARY


def test_a_record_that_cannot_be_read_hides_no_other(ledger, dead, redis):
    good, bad = die(ledger), die(ledger)
    redis.hset(f"fb:job:{bad}", "kind", b"\xff")
    assert [one.id for one in dead.list()] == [good]
    with pytest.raises(InvalidJob):
        dead.show(bad)
    assert dead.bury(bad)


# --- from the client and the command line -------------------------------------------------------


@pytest.fixture
def forebay(capsys, monkeypatch, redis, redis_url):
    """One command line in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    monkeypatch.setenv("FOREBAY_TENANT", "acme")

    def call(*args):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        code = cli.run(["dead", *args])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def test_the_client_lists_replays_and_buries(ledger):
    with Client(tenant="acme", settings=ledger.settings) as client:
        one, other = die(ledger), die(ledger)
        assert {dead.id for dead in client.dead()} == {one, other}
        new = client.replay(one, priority="bulk")
        assert client.status(new).state == "waiting"
        assert client.bury(other)
        assert client.dead() == []
    with Client(tenant="globex", settings=ledger.settings) as other_tenant:
        for verb in (other_tenant.replay, other_tenant.bury, other_tenant.dead_content):
            with pytest.raises(UnknownJob):
                verb(one)


def test_list_and_show_print_no_content_unless_asked(forebay, ledger):
    old = die(ledger)
    for args in (["list"], ["list", "--json"], ["show", old], ["show", old, "--json"]):
        code, out, err = forebay(*args)
        assert (code, CANARY in out + err) == (0, False)
        assert old in out
        assert "engine_died" in out
    assert json.loads(forebay("show", old, "--json")[1])["receipt"]["status"] == "failed"
    assert CANARY in forebay("show", old, "--content")[1]
    shown = json.loads(forebay("show", old, "--content", "--json")[1])
    assert shown["job"]["request"]["text"] == CANARY
    assert [one["id"] for one in json.loads(forebay("list", "--json")[1])] == [old]
    assert forebay("list", "--code", "too_long", "--json")[1] == "[]\n"


def test_replay_prints_the_new_id_and_the_same_one_again(forebay, ledger):
    old = die(ledger)
    code, out, err = forebay("replay", old)
    assert (code, err) == (0, "")
    assert json.loads(forebay("replay", old, "--json")[1]) == {
        "id": old, "replayed_as": out.strip(),
    }  # fmt: skip


def test_replay_all_takes_the_jobs_of_one_code_and_names_those_it_could_not_replay(forebay, ledger):
    crashed = {die(ledger) for _ in range(3)}
    refused = die(ledger, "model_refused")
    past = die(ledger, deadline=datetime.now(UTC) + timedelta(seconds=0.3))
    time.sleep(0.31)
    code, out, _ = forebay("replay", "--all", "--code", "engine_died", "--json")
    told = json.loads(out)
    assert code == 1
    assert {one["id"] for one in told["replayed"]} == crashed
    assert [(one["id"], one["code"]) for one in told["failed"]] == [(past, "invalid_job")]
    assert ledger.status(refused).state == "failed"
    code, out, err = forebay("replay", "--all", "--drop-deadline")
    assert (code, err) == (0, "forebay: 2 dead jobs of tenant acme replayed\n")
    assert {line.split("\t")[0] for line in out.splitlines()} == {refused, past}
    assert ledger.depths()["route"] == 5


@pytest.mark.parametrize("args", [[], ["acme.x", "--all"], ["acme.x", "--code", "engine_died"]])
def test_replay_wants_an_id_or_all(forebay, args):
    assert forebay("replay", *args)[0] == 2


def test_bury_tells_whether_there_was_a_job(forebay, ledger, redis):
    old = die(ledger)
    assert forebay("bury", old)[:2] == (0, "buried\n")
    assert json.loads(forebay("bury", old, "--json")[1]) == {"id": old, "buried": False}
    waiting = ledger.create([job()])[0]
    assert forebay("bury", waiting)[0] == 2
    assert redis.exists(f"fb:job:{waiting}")
