"""Jobs of a tenant that has few in work go first, and threads that work others wait for them."""

import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace

import pytest

from forebay.routing.errors import BadAnswer
from forebay.workers.runtime.claims import right_of_way as module
from forebay.workers.runtime.claims.claim_gate import ClaimGate
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.claims.right_of_way import RightOfWay, right_of_way
from forebay.workers.runtime.outcomes import Failed
from ledger_jobs import job, put
from working import work_next

pytest_plugins = ("waterfall",)


def claims(count, tenant, rows=0):
    return [SimpleNamespace(tenant=tenant, record=SimpleNamespace(rows=rows))] * count


@pytest.fixture
def way(monkeypatch):
    monkeypatch.setattr(module, "MOST_S", 30.0)
    return RightOfWay()


@pytest.mark.parametrize(
    ("others", "own", "goes_first"), [(2, 1, True), (1, 1, False), (9, 4, True), (9, 5, False)]
)
def test_a_tenant_goes_first_that_has_at_most_half_as_many_jobs_in_work_as_another(
    way, others, own, goes_first
):
    many, few = claims(others, "many"), claims(own, "few")
    with way.working(many) as split:
        assert split == ([], many)
        with way.working(few) as split_beside:
            assert split_beside == ((few, []) if goes_first else ([], few))
    with way.working(few) as split_alone:
        assert split_alone == ([], few)


def test_the_jobs_of_one_claim_are_told_apart(way):
    many, few = claims(8, "many"), claims(1, "few")
    with way.working([*many, *few]) as split:
        assert split == (few, many)


def test_a_shard_never_goes_first(way):
    shard = claims(1, "few", rows=100)
    with way.working(claims(8, "many")), way.working(shard) as split:
        assert split == ([], shard)


@contextmanager
def beside(call):
    """Make a call on another thread; yield what is set once it has returned."""
    returned = threading.Event()
    thread = threading.Thread(target=lambda: (call(), returned.set()))
    thread.start()
    yield returned
    thread.join(10)
    assert returned.is_set()


@contextmanager
def beside_the_first(way, call):
    """Make a call on another thread while this one goes first."""
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(way.computing(first=True))
        returned = stack.enter_context(beside(call))
        yield returned
        first.close()


def test_other_threads_wait_until_the_jobs_that_go_first_are_done(way):
    with beside_the_first(way, way.give_way) as returned:
        way.give_way()  # this thread does not wait for itself
        assert not returned.wait(0.05)


def test_a_thread_that_goes_first_for_long_has_the_right_of_way_no_longer(way, monkeypatch):
    monkeypatch.setattr(module, "MOST_S", 0.0)
    with way.computing(first=True), beside(way.give_way) as returned:
        assert returned.wait(10)


def test_jobs_that_do_not_go_first_keep_nobody_waiting(way):
    with way.computing(first=False), beside(way.give_way) as returned:
        assert returned.wait(10)


def turn(gate):
    with gate.turn("local.default"):
        pass


def test_no_thread_claims_while_others_go_first(way):
    with beside_the_first(right_of_way, partial(turn, ClaimGate(InFlight(4), 4))) as returned:
        assert not returned.wait(0.05)


def test_no_job_is_begun_while_others_go_first(way, lanes, monkeypatch):
    put(lanes.ledger, *(job() for _ in range(4)))
    lanes.work("route")
    waiting, opened = lanes.ledger.claim_many("local.default", 4), []

    def open_one(claim):
        opened.append(claim)
        return lanes.local._open(claim)

    monkeypatch.setattr(lanes.local._side_by_side, "_open_one", open_one)
    with beside_the_first(right_of_way, lambda: list(lanes.local.work_all(waiting))) as returned:
        assert not returned.wait(0.2)
        assert opened == []
    assert opened == waiting


def test_no_outcome_is_recorded_while_others_go_first(way, lanes):
    (job_id,) = put(lanes.ledger, job())
    worked = threading.Event()

    def work(_claim):
        worked.set()
        return Failed(BadAnswer("no answer will do"), ())

    take = partial(work_next, lanes.ledger, "route", work)
    with beside_the_first(right_of_way, take) as returned:
        assert worked.wait(10)
        assert not returned.wait(0.2)
        assert lanes.ledger.record(job_id).state == "running"
    assert lanes.ledger.record(job_id).state == "failed"
