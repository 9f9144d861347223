"""A claim may be for some of the waiting jobs only: by class, by kind, and without some tenants."""

from __future__ import annotations

from forebay.routing.jobs import Embed
from forebay.routing.ledger.claim import Selection
from ledger_jobs import job, put

INTERACTIVE = Selection(interactive=True)
VECTORS = Selection(kinds=frozenset({"embed"}))


def embed(tenant="acme", **options):
    return job(tenant, request=Embed(texts=["hello"]), **options)


def claimed(ledger, selection):
    claim = ledger.claim("route", selection=selection)
    return claim and claim.id


def test_interactive_jobs_alone_can_be_claimed(ledger):
    bulk, interactive = job(priority="bulk"), job()
    put(ledger, bulk, interactive)
    assert claimed(ledger, INTERACTIVE) == interactive.id
    assert claimed(ledger, INTERACTIVE) is None
    assert ledger.claim("route").id == bulk.id


def test_a_job_of_a_kind_is_found_behind_others(ledger):
    first, wanted, bulk = job(), embed(), embed(priority="bulk")
    put(ledger, *(job(priority="bulk") for _ in range(20)), first, bulk, wanted)
    assert claimed(ledger, VECTORS) == wanted.id
    assert claimed(ledger, VECTORS) == bulk.id
    assert claimed(ledger, VECTORS) is None
    assert ledger.claim("route").id == first.id


def test_a_job_of_a_kind_is_found_behind_other_tenants(ledger):
    wanted = embed("last")
    put(ledger, *(job(f"tenant{at}") for at in range(20)), wanted)
    assert claimed(ledger, VECTORS) == wanted.id


def test_a_job_of_a_kind_is_found_wherever_its_tenant_stands_among_newcomers(ledger):
    for name in ("a", "tenant5x", "z"):
        wanted = embed(name)
        put(ledger, *(job(f"tenant{at}") for at in range(40)), wanted)
        assert claimed(ledger, VECTORS) == wanted.id


def test_a_claim_looks_at_a_bounded_number_of_jobs(ledger):
    put(ledger, *(job() for _ in range(150)), embed())
    assert claimed(ledger, VECTORS) is None
    assert ledger.claim("route") is not None


def test_tenants_can_be_passed_over_and_keep_their_turn(ledger):
    busy, other = job("busy"), job("other")
    put(ledger, busy, other)
    without = Selection(interactive=True, passed_over=frozenset({"busy"}))
    assert claimed(ledger, without) == other.id
    assert claimed(ledger, without) is None
    assert claimed(ledger, INTERACTIVE) == busy.id


def test_the_tenant_of_whom_the_fewest_jobs_are_in_work_goes_first(ledger):
    put(ledger, *(job(name) for name in ("many", "many", "few", "few", "none")))
    held = {"many": 5, "few": 1}
    order = [ledger.claim("route", selection=Selection(held=held)).tenant for _ in range(5)]
    assert order == ["none", "few", "few", "many", "many"], "and a tenant alone gets all"


def test_jobs_that_are_claimed_together_count_as_in_work(ledger):
    put(ledger, *(job(name) for name in ("one", "one", "one", "two", "two", "two")))
    claims = ledger.claim_many("route", 5, selection=Selection(held={"one": 2}))
    assert [claim.tenant for claim in claims][:2] == ["two", "two"]
    assert [claim.tenant for claim in claims].count("two") == 3


def test_an_interactive_job_goes_before_bulk_whoever_holds_more(ledger):
    bulk, interactive = job("few", priority="bulk"), job("many")
    put(ledger, bulk, interactive)
    assert claimed(ledger, Selection(held={"many": 9})) == interactive.id


def test_a_claim_by_kind_leaves_the_ageing_of_bulk_jobs_alone(ledger, redis):
    put(ledger, job(), job(priority="bulk"))
    ledger.claim("route")
    ledger.claim("route", selection=VECTORS)
    put(ledger, job(priority="bulk"), job())
    ledger.claim("route")
    since = redis.hget("fb:since", "route:bulk")
    ledger.claim("route", selection=VECTORS)
    assert redis.hget("fb:since", "route:bulk") == since is not None


def test_queues_in_which_nothing_waits_are_known_without_a_claim(ledger):
    assert ledger.queues_with_jobs(["route", "embed"], bulk=True) == []
    put(ledger, job(priority="bulk"))
    assert ledger.queues_with_jobs(["route", "embed"], bulk=False) == []
    assert ledger.queues_with_jobs(["route", "embed"], bulk=True) == ["route"]
    put(ledger, job())
    assert ledger.queues_with_jobs(["route", "embed"], bulk=False) == ["route"]
