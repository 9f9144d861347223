"""No way of submitting gets a tenant more of the claims than one that just has jobs waiting."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, answer, job, put

CLAIMS = 60
WAITING = 40  # jobs of each tenant, at least: neither runs out
AT_ONCE = 4  # jobs of one claim
BULK_SHARE = 4


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(ageing_s=0.001, bulk_share=BULK_SHARE), BELL)


class Cunning:
    """A tenant that wants more than its share; an honest one has as many jobs waiting."""

    def __init__(self, ledger):
        self.ledger = ledger

    def submit(self, count, **options):
        return put(self.ledger, *(job("cunning", **options) for _ in range(count)))

    def begin(self):
        self.submit(CLAIMS + WAITING)

    def go_on(self):
        """Do something before each claim."""

    def work(self, claim):
        """End a job of its own, in whatever way."""
        self.ledger.settle(claim, answer(claim))


class WithDeadlines(Cunning):
    """Its jobs are all due in a moment."""

    def begin(self):
        self.submit(CLAIMS + WAITING, deadline=datetime.now(UTC) + timedelta(seconds=60))


class Resubmitting(Cunning):
    """It cancels what waits and submits it anew, as often as it can."""

    def begin(self):
        self.waiting = self.submit(WAITING)

    def go_on(self):
        self.ledger.cancel_all(self.waiting)
        self.begin()


class CancellingInWork(Cunning):
    """It cancels its jobs once they are claimed, so that the worker has room for the next."""

    def work(self, claim):
        self.ledger.cancel(claim.id)


class InChunks(Cunning):
    """It submits few jobs at a time, and the next once these are claimed."""

    def begin(self):
        self.submit(AT_ONCE)

    go_on = begin


class OneAtATime(Cunning):
    """It has one job waiting, so that it comes back to the queue each time."""

    def begin(self):
        self.submit(1)

    def work(self, claim):
        super().work(claim)
        self.submit(1)


class Retrying(Cunning):
    """Its jobs fail, and are tried again at once."""

    def work(self, claim):
        self.ledger.retry(claim, "bad_answer", counted=False)


class OfBothClasses(Cunning):
    """It has bulk jobs waiting too, which have waited for too long."""

    def begin(self):
        super().begin()
        self.submit(CLAIMS + WAITING, priority="bulk")
        self.ledger.claim("route")
        time.sleep(0.01)  # longer than `ageing_s`


@pytest.mark.parametrize("trick", Cunning.__subclasses__(), ids=lambda trick: trick.__name__)
def test_no_trick_gets_a_tenant_more_than_its_share(ledger, trick):
    put(ledger, *(job("honest") for _ in range(CLAIMS + WAITING)))
    cunning, served = trick(ledger), Counter()
    cunning.begin()
    while served.total() < CLAIMS:
        cunning.go_on()
        for claim in ledger.claim_many("route", AT_ONCE):
            served[claim.tenant] += 1
            if claim.tenant == "honest":
                ledger.settle(claim, answer(claim))
            else:
                cunning.work(claim)
    assert served["honest"] >= served.total() / 2 - 1


def test_a_tenant_that_has_bulk_jobs_waiting_alone_pays_nothing_among_interactive_ones(
    ledger, redis
):
    put(ledger, *(job("patient", priority="bulk") for _ in range(20)))
    put(ledger, *(job("hurried") for _ in range(40)))
    ledger.claim("route")
    time.sleep(0.01)
    served = Counter(claim.tenant for claim in ledger.claim_many("route", 20))
    assert served["patient"] == 20 / BULK_SHARE
    assert redis.zscore("fb:turn:route:interactive", "patient") is None
