"""A tenant is moved from one Redis to another, with the test as its workers."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.producers.gateway.api_keys import KeyStore
from forebay.producers.gateway.batches.batch import Terms
from forebay.producers.gateway.batches.batch_store import BatchStore
from forebay.producers.gateway.openai.completions.completion_list import CompletionList
from forebay.producers.gateway.webhooks.deliveries import Deliveries, Delivery, End
from forebay.producers.gateway.webhooks.webhook_store import WebhookStore
from forebay.routing.bulk.bulks import Bulks
from forebay.routing.errors import InvalidJob, ResultTimeout, Unavailable, UnknownJob
from forebay.routing.fleets import fence
from forebay.routing.fleets.map_file import MapFile
from forebay.routing.fleets.moving import move as moving
from forebay.routing.fleets.moving.move import Move, back, plan
from forebay.routing.fleets.moving.state import STEPS, move_of
from forebay.routing.jobs import Job, Summary, new_id
from forebay.routing.ledger.ends import tell_end
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pauses import Pauses
from forebay.routing.settings import Settings
from forebay.routing.store.encryption import Seal
from working import ask, settle, working

SILENT = lambda step, waits: None  # noqa: E731 - a test says nothing


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(moving, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(moving, "CARRYING_S", 0.02)


def go(two, to="east", timeout_s=20, report=SILENT):
    fleets = two.fleets()
    at = plan(fleets, "acme", to)
    Move(fleets, "acme", at, report).run(timeout_s)


def settle_next(two, fleet):
    ledger = two.ledger(fleet)
    settle(ledger, ledger.claim("route"))


def test_answers_keys_and_dead_letters_are_found_in_the_new_fleet(two):
    with two.client() as client:
        with working(two.ledger("west")):
            done = client.submit(ask("a"), idempotency_key="once")
            Transitions(two.redis["west"]).run("keep_asked", done, b"what was asked")
            dead = client.submit(ask("bad"))
            assert client.result(done, timeout=20).content == Summary(text="A")
            while client.status(dead).state != "failed":
                time.sleep(0.01)
        go(two)
        assert client.result(done, timeout=5).content == Summary(text="A")
        assert client.submit(ask("a"), idempotency_key="once") == done
        assert two.redis["east"].get(f"fb:asked:{done}") == b"what was asked"
        assert [job.id for job in client.dead()] == [dead]
        assert client.dead_content(dead).request == ask("bad")
        new = client.submit(ask("b"))
        settle_next(two, "east")
        assert client.result(new, timeout=5).content == Summary(text="B")
    assert two.path.read_text().endswith('[tenants]\nacme = "east"\n')
    left = {key.decode() for key in two.redis["west"].keys("fb:*acme*")}
    assert {key for key in left if not key.startswith("fb:wake:")} == {"fb:moved:acme"}


def test_jobs_from_before_end_in_the_old_fleet_and_new_ones_in_the_new(two):
    with two.client() as client:
        before = client.submit(ask("before"), idempotency_key="k")
        waiting = client.future(before)
        mover = threading.Thread(target=go, args=(two,))
        mover.start()
        while fence.read(two.redis["west"], "acme") is None:
            time.sleep(0.01)
        after = client.submit(ask("after"))
        assert two.redis["east"].exists(f"fb:job:{after}")
        assert client.submit(ask("before"), idempotency_key="k") == before
        assert client.status(before).state == client.status(after).state == "waiting"
        settle_next(two, "east")
        assert client.result(after, timeout=10).content == Summary(text="AFTER")
        settle_next(two, "west")
        assert waiting.result(10).content == Summary(text="BEFORE")
        mover.join(20)
        assert client.result(before, timeout=5).content == Summary(text="BEFORE")


def test_a_client_whose_map_is_old_is_refused_and_told_what_to_change(two, tmp_path):
    old = two.path.with_name("old.toml")
    old.write_text(two.path.read_text())
    go(two)

    with Client(tenant="acme", settings=Settings(fleets=old)) as client:
        with pytest.raises(
            Unavailable, match="has moved to fleet east, and the map still says west"
        ):
            client.submit(ask())
        old.write_text(two.path.read_text())
        assert client.submit(ask())
    assert two.redis["east"].zcard("fb:waiting:route:interactive:acme") == 1


def test_a_client_of_one_fleet_cannot_slip_a_job_in(two):

    go(two)
    with Client(tenant="acme", settings=Settings(redis_url=two.urls["west"])) as client:
        with pytest.raises(Unavailable, match="belong to fleet east now"):
            client.submit(ask())
        with pytest.raises(UnknownJob):
            client.status(new_id("acme"))


def spend(two, fleet, nusd, call, *, settled=True):
    budget = Budget(two.redis[fleet])
    budget.reserve(call, new_id("acme"), "acme", nusd, term_s=0.05)
    if settled:
        budget.settle(call, nusd)


def test_what_was_spent_and_what_is_reserved_goes_along(two):
    spend(two, "west", 700, "c1")
    spend(two, "west", 40, "c2", settled=False)
    go(two)
    east, west = Budget(two.redis["east"]), Budget(two.redis["west"])
    assert east.spent("acme") == (700, 40)
    assert west.spent("acme") == (0, 0)
    assert west.spent() == (700, 40)  # the fleet has spent it
    assert [call.call_id for call in east.open()] == ["c2"]
    assert east.settle("c2", 30) == "closed"
    assert east.spent("acme") == (730, 0)


def test_bedrock_waits_in_the_new_fleet_until_the_sums_are_there(two):
    job = two.client().submit(ask())
    seen = []

    def report(step, waits):
        seen.append((step, [pause.scope for pause in Pauses(two.redis["east"]).all()]))
        if step == "drain" and waits:
            settle_next(two, "west")

    go(two, report=report)
    held = {step for step, scopes in seen if scopes == ["bedrock:acme"]}
    assert held == {"fence", "switch", "drain", "jobs", "books", "money"}
    assert Pauses(two.redis["east"]).all() == []
    assert two.redis["east"].exists(f"fb:job:{job}")


def test_a_pause_of_an_operator_outlives_the_move(two):
    Pauses(two.redis["east"]).pause("bedrock:acme", "by hand")
    Pauses(two.redis["west"]).pause("tenant:acme", "by hand")
    go(two)
    scopes = [pause.scope for pause in Pauses(two.redis["east"]).all()]
    assert scopes == ["bedrock:acme", "tenant:acme"]


@pytest.mark.parametrize("question", ["watch_all", "status"])
def test_a_job_is_found_though_another_thread_read_the_new_map_first(two, question, monkeypatch):
    with two.client() as client:
        with working(two.ledger("west")):
            done = client.submit(ask("a"))
            client.result(done, timeout=20)
        monkeypatch.setattr(MapFile, "look_every_s", 3600)
        ledger, file = client._ledger, client._ledger._fleets._file
        file.look()
        go(two)
        asked = ledger._places_of

        def asked_before_another_thread_looks(job_ids):
            places = asked(job_ids)
            file.look()
            return places

        monkeypatch.setattr(ledger, "_places_of", asked_before_another_thread_looks)
        if question == "status":
            assert ledger.status(done).state == "done"
        else:
            assert ledger.watch_all([done], client._wakeups.stream) == ["done"]


class Killed(BaseException):
    """The mover was killed here."""


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_move_that_is_killed_at_a_step_goes_on_when_it_is_run_again(two, step, monkeypatch):
    with two.client() as client:
        with working(two.ledger("west")):
            ids = [client.submit(ask(f"t{n}"), idempotency_key=f"k{n}") for n in range(5)]
            for job_id in ids:
                client.result(job_id, timeout=20)
        spend(two, "west", 700, "c1")

        original = getattr(Move, f"_{step}")

        def killed(self):
            original(self)
            raise Killed

        monkeypatch.setattr(Move, f"_{step}", killed)
        with pytest.raises(Killed):
            go(two)
        monkeypatch.setattr(Move, f"_{step}", original)
        go(two)
        for number, job_id in enumerate(ids):
            assert client.result(job_id, timeout=5).content == Summary(text=f"T{number}")
            assert client.submit(ask(f"t{number}"), idempotency_key=f"k{number}") == job_id
    assert Budget(two.redis["east"]).spent("acme") == (700, 0)
    assert move_of(two.fleets(), "acme") is None
    assert plan(two.fleets(), "acme", "east") is None


def test_a_move_that_waits_too_long_says_for_what_and_can_be_undone(two):
    with two.client() as client:
        spend(two, "west", 700, "c1")
        before = client.submit(ask("before"))
        with pytest.raises(ResultTimeout, match="1 waiting"):
            go(two, timeout_s=0)
        during = client.submit(ask("during"))
        fleets = two.fleets()
        with pytest.raises(InvalidJob, match="being moved to east"):
            plan(fleets, "acme", "west")
        at = back(move_of(fleets, "acme"))
        spent = []

        def report(step, waits):
            if step == "drain" and waits:
                spent.append(Budget(two.redis["east"]).spent("acme"))
                settle_next(two, "east")

        Move(fleets, "acme", at, report).run(20)
        assert spent == [(700, 0)]
        assert client.result(during, timeout=5).content == Summary(text="DURING")
        settle_next(two, "west")
        assert client.result(before, timeout=5).content == Summary(text="BEFORE")
        assert client.submit(ask("again"))
    assert Budget(two.redis["west"]).spent("acme") == (700, 0)
    assert two.fleets().map.places("acme") == ("west",)
    assert fence.read(two.redis["west"], "acme") is None
    assert Pauses(two.redis["west"]).all() == []


def test_a_tenant_can_come_back(two):
    with two.client() as client:
        spend(two, "west", 700, "c1")
        go(two)
        spend(two, "east", 20, "c2")
        job = client.submit(ask())
        settle_next(two, "east")
        go(two, "west")
        assert client.result(job, timeout=5)
        assert Budget(two.redis["west"]).spent("acme") == (720, 0)
        assert client.submit(Job(tenant="acme", request=ask()).request)
    assert two.redis["west"].zcard("fb:waiting:route:interactive:acme") == 1


def test_what_else_belongs_to_the_tenant_goes_along_and_nothing_of_others(two):
    west, east = two.redis["west"], two.redis["east"]
    keys = {tenant: KeyStore(west).create(tenant)[0] for tenant in ("acme", "acme2")}
    hooks = WebhookStore(west, Seal.of(Settings()))
    hook, secret = hooks.add("acme", "https://example.com/hook")
    terms = Terms(family="bulk", endpoint="")
    batches = [BatchStore(west).create(f"{tenant}.1", "disk", terms).id for tenant in keys]
    for tenant in keys:
        CompletionList(west, 60).add(f"{tenant}.{'0' * 32}", 1)
    Bulks(two.ledger("west")).create("acme.1", {"source": "x"}, 500)
    west.hincrby("fb:bulk:acme.1", "rows_done", 7)
    due = Delivery("d1", "acme", hook.id, "job.done", "acme.2", "done", 1, "evt_1")
    Deliveries(west).make("acme", End("0-1", "acme.2", "done", "job"), [due])
    tell_end(west, "acme.3", "done", what="batch")
    go(two)
    assert KeyStore(east).list() == [keys["acme"]]
    assert KeyStore(west).list() == [keys["acme2"]]
    moved = WebhookStore(east, Seal.of(Settings()))
    assert (moved.tenants(), moved.secret(moved.get("acme", hook.id))) == (["acme"], secret)
    assert [end.id for end in Deliveries(east).ends("acme")] == ["acme.3"]
    assert Deliveries(east).due(9) == [due]
    assert (BatchStore(east).open(), BatchStore(west).open()) == ([batches[0]], [batches[1]])
    assert BatchStore(east).ids("acme", "bulk") == ["acme.1"]
    assert CompletionList(east, 60).job_ids("acme") == [f"acme.{'0' * 32}"]
    assert (
        CompletionList(east, 60).job_ids("acme2") == CompletionList(west, 60).job_ids("acme") == []
    )
    bulk = Bulks(two.ledger("east")).get("acme.1")
    assert (bulk.max_nusd, dict(bulk.counters)) == (500, {"rows_done": 7})
    assert (Deliveries(west).due(9), hooks.tenants()) == ([], [])
    assert west.pttl("fb:batch:acme2.1") > 0 < east.pttl("fb:batch:acme.1")


def test_a_bulk_waits_for_the_end_of_the_move_and_goes_on_in_the_new_fleet(two):
    with two.client() as client:
        client.submit(ask("before"))
        mover = threading.Thread(target=go, args=(two,))
        mover.start()
        while fence.read(two.redis["west"], "acme") is None:
            time.sleep(0.01)
        with client.bulk(iter([ask("a"), ask("b")])) as bulk:
            for _ in range(3):
                bulk.next_rows()
            assert [two.ledger(name).depths().get("route:rows", 0) for name in two.urls] == [0, 0]
            settle_next(two, "west")
            mover.join(20)
            end = time.monotonic() + 20
            while not two.redis["east"].keys("fb:waiting:*:rows:acme"):
                bulk.next_rows()
                assert time.monotonic() < end
            assert [record.id for record in Bulks(two.ledger("east")).list("acme")] == [bulk.id]


async def ask_before_and_after(two):
    """Ask on the event loop, with a move between the two jobs; return both answers."""
    async with AsyncClient(tenant="acme", settings=two.settings) as client:
        first = await client.run(ask("a"), timeout=20)
        await asyncio.to_thread(go, two)
        second = await client.run(ask("b"), timeout=20)
        return await client.result(first.id, timeout=20), second


def test_an_async_client_follows_its_tenant(two):
    with working(two.ledger("west")), working(two.ledger("east")):
        answers = asyncio.run(ask_before_and_after(two))
    assert [answer.content.text for answer in answers] == ["A", "B"]
