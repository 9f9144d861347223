"""What workers count of jobs for the history, and that the sweeper keeps the figures."""

from __future__ import annotations

from collections import Counter

import pytest

from forebay.routing.bulk.row_result import RowResult
from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Receipt, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.overview.history import History
from forebay.routing.settings import Settings
from forebay.workers.history.tally import Tally
from forebay.workers.runtime.outcomes import (
    Answered,
    Dropped,
    Escalated,
    Recorded,
    Retry,
    Routed,
    ShardAnswered,
)
from forebay.workers.sweeper import Sweeper
from ledger_jobs import BELL, answer, job, put
from patience import until

VERDICT = Verdict(probability=0.1, version="test")


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(), BELL)


@pytest.fixture
def claim(ledger):
    put(ledger, job(egress="allow"))
    return ledger.claim("route")


@pytest.fixture
def tally(redis_url, monkeypatch):
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    return Tally()


@pytest.fixture
def counted(tally, claim, redis):
    """Return what is counted of an outcome."""

    def counted(outcome, state, receipt=None) -> dict[str, int]:
        tally.finished(claim, Recorded(claim.id, outcome, state, receipt))
        tally.flush()
        sums = Counter()
        for minute in History(redis).last(2):
            sums.update(minute.counts)
        return dict(sums)

    return counted


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"local": 1}),
        ({"lane": "bedrock"}, {"bedrock": 1}),
        ({"degraded": True}, {"local": 1, "degraded": 1}),
        ({"cached": True}, {"local": 1, "cached": 1}),
        ({"reasons": ("audit",)}, {}),
    ],
)
def test_an_answer_counts_by_its_lane(counted, claim, changes, expected):
    made = answer(claim).model_copy(update=changes)
    assert counted(Answered(made), "done", made.receipt) == expected


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_an_end_without_an_answer_counts_as_such(counted, claim, status):
    receipt = Receipt(id=claim.id, kind="summarize", egress="allow", status=status)
    assert counted(Dropped(), status, receipt) == {status: 1}


@pytest.mark.parametrize(
    ("outcome", "state", "expected"),
    [
        (Escalated("doubtful,low_probability", None), "waiting", {"up:doubtful": 1}),
        (Escalated("check_failed:numbers", None), "waiting", {"up:check_failed": 1}),
        (Escalated("<script>", None), "waiting", {"up:other": 1}),
        (Escalated("doubtful", None), "lost", {}),
        (Routed("bedrock", "allow", "verdict_hard", VERDICT), "waiting", {"up:verdict_hard": 1}),
        (Routed("local.default", "allow", "verdict_easy", VERDICT), "waiting", {}),
        (Retry("throttled"), "waiting", {}),
        (Dropped(), "cancelled", {"cancelled": 1}),
        (Dropped(), "lost", {}),
    ],
)
def test_a_job_that_goes_up_counts_by_its_first_reason(counted, outcome, state, expected):
    assert counted(outcome, state) == expected


def test_the_rows_of_a_shard_count_one_by_one(counted, claim):
    rows = [RowResult("done"), RowResult("done", degraded=True), RowResult("failed")]
    receipt = Receipt(id=claim.id, kind="summarize", egress="allow", status="done", lane="local")
    outcome = ShardAnswered(receipt, (*rows, RowResult("up")))
    assert counted(outcome, "done", receipt) == {"local": 2, "degraded": 1, "failed": 1}


def test_what_redis_does_not_take_is_counted_later(tally, claim, redis, monkeypatch, caplog):
    def refuse(*_):
        raise Unavailable("away")

    made = answer(claim)
    with monkeypatch.context() as patched:
        patched.setattr(History, "add", refuse)
        for _ in range(3):
            tally.finished(claim, Recorded(claim.id, Answered(made), "done", made.receipt))
            tally.flush()
    assert [line.event for line in caplog.records] == ["history.away"]
    tally.flush()
    tally.flush()
    assert sum(minute.counts.get("local", 0) for minute in History(redis).last(2)) == 3


def test_a_sweeper_counts_what_it_ends_and_keeps_the_figures(tally, ledger, redis):
    put(ledger, job())
    sweeper = Sweeper(Ledger(redis, Settings(sweep_s=0.05), BELL), [tally])
    try:
        until(lambda: any(minute.waiting is not None for minute in History(redis).last(2)))
        (cancelled,) = put(ledger, job("beta"))
        ledger.cancel(cancelled)
        until(lambda: tally._counts["cancelled"] == 1)
    finally:
        sweeper.close()
