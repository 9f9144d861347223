"""The reserve takes jobs while all threads of Celery are busy, and only then."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.routing.jobs import Embed
from forebay.routing.ledger.claim import Selection
from forebay.workers.runtime.claims import reserve
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.claims.reserve import Reserve, ReserveTerms
from ledger_jobs import job, put
from patience import until

INTERACTIVE = ReserveTerms(4, interactive=True)


class Thread:
    """A reserve whose jobs last until the test lets them end."""

    def __init__(self, ledger, terms=INTERACTIVE, slots=1):
        self.ledger, self.in_flight = ledger, InFlight(slots)
        self.begun, self.end = [], threading.Event()
        self.failures = []
        Reserve(terms, self.in_flight, ledger, lambda: ["route"], self._work).start()

    def _work(self, claim):
        assert claim in self.in_flight.claims()
        self.begun.append(claim.tenant)
        self.end.wait(10)
        if self.failures:
            raise self.failures.pop()

    def fill(self, stack):
        """Have all threads of Celery work a bulk job."""
        put(self.ledger, *(job("bulk", priority="bulk") for _ in range(self.in_flight.slots)))
        for _ in range(self.in_flight.slots):
            stack.enter_context(self.in_flight.holding(self.ledger.claim("route")))


@pytest.fixture
def start(ledger):
    with ExitStack() as stack:
        started = []

        def make(*args, full=True, **options):
            thread = Thread(ledger, *args, **options)
            started.append(thread)
            if full:
                thread.fill(stack)
            return thread

        yield make
        for thread in started:
            thread.in_flight.closed = True
            thread.end.set()


def test_an_interactive_job_is_taken_while_bulk_holds_all_threads(ledger, redis, start):
    threads = start()
    rings = redis.llen("route")
    put(ledger, job(), job("acme", priority="bulk"))
    until(lambda: threads.begun == ["acme"])
    assert redis.llen("route") == rings + 1, "its doorbell is taken along"
    assert not threads.in_flight.free
    assert len(threads.in_flight.claims()) == 2


def test_nothing_is_taken_while_celery_has_a_free_thread(ledger, start):
    threads = start(full=False)
    put(ledger, job())
    time.sleep(0.2)
    assert threads.begun == []
    assert ledger.claim("route") is not None


def test_a_tenant_with_long_answers_leaves_half_of_the_reserve_to_others(ledger, start):
    threads = start()
    put(ledger, *(job("busy") for _ in range(6)))
    until(lambda: threads.begun == ["busy", "busy"])
    put(ledger, job("other"))
    until(lambda: threads.begun == ["busy", "busy", "other"])
    threads.end.set()
    until(lambda: len(threads.begun) == 7)


def test_a_light_job_is_taken_while_generations_hold_all_other_threads(ledger, start):
    threads = start(ReserveTerms(2, kinds=frozenset({"embed"})))
    put(ledger, *(job() for _ in range(5)))
    put(ledger, job("light", request=Embed(texts=["hello"])))
    until(lambda: threads.begun == ["light"])


def test_a_reserve_outlives_a_redis_that_goes_away(ledger, start, monkeypatch, caplog):
    monkeypatch.setattr(reserve, "REDIS_RETRY_S", 0.01)
    threads = start(full=False)
    failures = [Unavailable("no Redis"), Unavailable("no Redis")]
    claim = ledger.claim

    def flaky(*args, **options):
        if failures and options.get("selection"):
            raise failures.pop()
        return claim(*args, **options)

    monkeypatch.setattr(ledger, "claim", flaky)
    with ExitStack() as stack:
        threads.fill(stack)
        put(ledger, job())
        until(lambda: threads.begun == ["acme"])
    assert caplog.text.count("cannot claim: no Redis") == 2


def test_a_thread_outlives_a_job_whose_outcome_cannot_be_recorded(ledger, start):
    threads = start(ReserveTerms(1, interactive=True))
    threads.failures.append(Misconfigured("Redis refuses this user"))
    threads.end.set()
    put(ledger, job(), job("other"))
    until(lambda: sorted(threads.begun) == ["acme", "other"])


def test_the_threads_end_when_the_worker_drains(start):
    before = threading.active_count()
    threads = start()
    assert threading.active_count() == before + 4
    threads.in_flight.closed = True
    until(lambda: threading.active_count() == before)


def test_a_reserve_without_threads_takes_nothing(ledger, start):
    threads = start(ReserveTerms(0, interactive=True))
    put(ledger, job())
    time.sleep(0.1)
    assert threads.begun == []


def test_the_selection_of_one_thread_passes_over_the_tenant_that_holds_it():
    terms = ReserveTerms(1, interactive=True)
    assert terms.selection({}, InFlight(1)) == Selection(interactive=True)
    full = terms.selection({"acme": 1}, InFlight(1))
    assert full == Selection(interactive=True, passed_over=frozenset({"acme"}))


def test_threads_for_shares_take_only_jobs_of_tenants_that_hold_less_than_theirs(ledger, start):
    threads = start(ReserveTerms(4, shares=True), slots=4)
    put(ledger, *(job("bulk") for _ in range(3)))
    time.sleep(0.2)
    assert threads.begun == [], "a tenant alone has all threads of Celery, and no more"
    put(ledger, *(job("other") for _ in range(5)))
    until(lambda: threads.begun == ["other", "other"])
    put(ledger, job("third"))
    until(lambda: threads.begun == ["other", "other", "third"])


def test_a_drained_worker_takes_no_job_for_its_reserve(start, ledger):
    thread = start()
    thread.in_flight.drained = True
    put(ledger, job("acme"))
    time.sleep(0.3)
    assert thread.begun == []
    thread.in_flight.drained = False
    until(lambda: thread.begun == ["acme"], within_s=5)
