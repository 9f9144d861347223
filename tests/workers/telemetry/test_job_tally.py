"""Jobs are counted as they end, for a report that outlives their records."""

import time
from collections import Counter

import pytest

from forebay.routing.books import job_book
from forebay.routing.books.job_book import JobBook
from forebay.routing.books.job_counts import OTHERS, JobGroup, job_counts
from forebay.routing.books.job_history import History
from forebay.routing.bulk.row_result import RowResult
from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Answer, Check, Receipt, Summary, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.runtime.outcomes import (
    Answered,
    Audited,
    Dropped,
    Escalated,
    Recorded,
    Routed,
    ShardAnswered,
)
from forebay.workers.sweeper import Sweeper
from forebay.workers.telemetry.job_tally import JobTally
from ledger_jobs import BELL, job, put
from patience import until

VERDICT = Verdict(probability=0.5, version="test")


@pytest.fixture
def book(redis):
    return JobBook(redis)


@pytest.fixture
def tally(book):
    return JobTally(lambda: book)


@pytest.fixture
def claim(redis):
    ledger = Ledger(redis, Settings(), BELL)
    put(ledger, job("acme", egress="allow"))
    return ledger.claim("route")


def counted(tally, book):
    tally.flush()
    now = time.time()
    return {(count.what, *count.of): count.number for count in book.read(now - 10, now)}


def receipt(claim, **fields):
    values = {
        "status": "done", "lane": "local", "model": "tiny", "tokens_in": 9, "tokens_out": 2,
        "cost_nusd": 5,
    }  # fmt: skip
    return Receipt(**claim.record.heading(), **values | fields)


def test_an_answer_is_counted_with_its_tokens_cost_and_failed_checks(tally, book, claim):
    checks = (Check(name="grounding", passed=False), Check(name="schema", passed=True))
    done = receipt(claim, checks=checks, degraded=True)
    answer = Answer(**done.model_dump(), content=Summary(text="secret words"))
    tally.finished(claim, Recorded(claim.id, Answered(answer), "done", done))
    kind = claim.record.kind
    group = ("job", "acme", kind, "allow", "done", "local", "tiny", False)
    assert counted(tally, book) == {
        (*group, "jobs"): 1, (*group, "tokens_in"): 9, (*group, "tokens_out"): 2,
        (*group, "nusd"): 5, (*group, "degraded"): 1,
        ("check", "acme", kind, "grounding"): 1,
    }  # fmt: skip


def test_why_a_job_went_up_is_counted_before_and_after_its_answer(tally, book, claim):
    routed = Routed("bedrock", "allow", "verdict_hard", VERDICT)
    tally.finished(claim, Recorded(claim.id, routed, "waiting"))
    stays = Routed("local.default", "allow", "verdict_easy", VERDICT)
    tally.finished(claim, Recorded(claim.id, stays, "waiting"))
    raised = Escalated("check_failed:schema,doubtful", None)
    tally.finished(claim, Recorded(claim.id, raised, "waiting"))
    kind = claim.record.kind
    assert counted(tally, book) == {
        ("up", "acme", kind, "verdict_hard"): 1, ("up", "acme", kind, "doubtful"): 1,
    }  # fmt: skip


def test_what_a_local_worker_worked_is_counted_by_queue_without_rows_and_cached(
    tally, book, redis, claim
):
    ledger = Ledger(redis, Settings(), BELL)
    ledger.route(claim, "local.default", "allow", "verdict_easy", VERDICT)
    here = ledger.claim("local.default")
    done = receipt(here)
    answer = Answer(**done.model_dump(), content=Summary(text="words"))
    cached = answer.model_copy(update={"cached": True})
    for each in (answer, cached):
        tally.finished(here, Recorded(here.id, Answered(each), "done", done))
    tally.finished(here, Recorded(here.id, Escalated("doubtful", None), "waiting"))
    rows = (RowResult("done", model="tiny"), RowResult("up", reasons=("doubtful",)))
    tally.finished(here, Recorded(here.id, ShardAnswered(done, rows), "done", done))
    found = counted(tally, book)
    assert found["worked", "acme", here.record.kind, "local.default"] == 2


@pytest.mark.parametrize("agreed", [True, False])
def test_an_audit_is_a_result_and_no_job(tally, book, claim, agreed):
    checked = receipt(claim, checks=(Check(name="audit", passed=agreed),), stand_in=True)
    tally.finished(claim, Recorded(claim.id, Audited(checked), "done", checked))
    assert counted(tally, book) == {("audit", "acme", claim.record.kind, agreed, True): 1}


def test_each_row_of_a_shard_is_counted_once(tally, book, claim):
    rows = (
        RowResult("done", model="tiny", tokens_in=3, failed=(("schema", ""),)),
        RowResult("done", model="tiny", tokens_in=4),
        RowResult("failed", error="too_long"),
        RowResult("up", reasons=("bulk", "doubtful")),
    )
    shard = ShardAnswered(receipt(claim), rows)
    tally.finished(claim, Recorded(claim.id, shard, "done", shard.receipt))
    found, kind = counted(tally, book), claim.record.kind
    done = ("job", "acme", kind, "allow", "done", "local", "tiny", False)
    assert (found[*done, "jobs"], found[*done, "tokens_in"]) == (2, 7)
    assert found[*done, "rows"] == 2
    assert found["job", "acme", kind, "allow", "failed", "", "", False, "jobs"] == 1
    assert found["check", "acme", kind, "schema"] == found["up", "acme", kind, "doubtful"] == 1
    assert sum(n for key, n in found.items() if key[-1] == "jobs") == 3


def test_jobs_that_a_sweep_or_a_cancel_ended_are_counted(tally, book, claim, redis):
    ledger = Ledger(redis, Settings(), BELL)
    ledger.cancel(claim.id)
    tally.swept(ledger.record(claim.id))
    tally.finished(claim, Recorded(claim.id, Dropped(), "cancelled"))
    tally.finished(claim, Recorded(claim.id, Dropped(), "lost"))
    group = ("job", "acme", claim.record.kind, "allow", "cancelled", "", "", False, "jobs")
    assert counted(tally, book) == {group: 2}


@pytest.mark.parametrize(
    "outcome",
    [
        Escalated("doubtful", None),
        Routed("bedrock", "allow", "verdict_hard", VERDICT),
        ShardAnswered(
            Receipt(id="acme." + "0" * 32, kind="embed", egress="deny", status="done"),
            (RowResult("done"),),
        ),
    ],
)
def test_a_job_that_was_lost_is_counted_by_whoever_holds_it(tally, book, claim, outcome):
    tally.finished(claim, Recorded(claim.id, outcome, "lost"))
    assert counted(tally, book) == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"local": 1}),
        ({"lane": "bedrock", "degraded": True}, {"bedrock": 1, "degraded": 1}),
        ({"cached": True}, {"local": 1, "cached": 1}),
        ({"status": "expired", "lane": None}, {"expired": 1}),
    ],
)
def test_the_status_page_reads_what_the_report_reads(tally, redis, claim, changes, expected):
    done = receipt(claim, **changes)
    tally.finished(claim, Recorded(claim.id, Dropped(), done.status, done))
    tally.flush()
    assert sum((Counter(minute.counts) for minute in History(redis).last(2)), Counter()) == expected


def test_a_sweeper_has_ended_jobs_counted_and_keeps_the_figures(tally, redis):
    sweeper = Sweeper(Ledger(redis, Settings(sweep_s=0.05), BELL), [tally])
    ledger = Ledger(redis, Settings(), BELL)
    try:
        until(lambda: any(minute.waiting is not None for minute in History(redis).last(2)))
        (cancelled,) = put(ledger, job("beta"))
        ledger.cancel(cancelled)
        until(lambda: tally._counts)
        tally.flush()
    finally:
        sweeper.close()
    assert sum(minute.counts.get("cancelled", 0) for minute in History(redis).last(2)) == 1


def test_counts_wait_while_redis_is_away(book, claim, caplog):
    class Away:
        def __init__(self):
            self.away = True

        def add(self, counts):
            if self.away:
                raise Unavailable("away")
            book.add(counts)

    away = Away()
    tally = JobTally(lambda: away)
    done = receipt(claim, tokens_in=0, tokens_out=0, cost_nusd=0)
    for _ in range(3):
        tally.finished(claim, Recorded(claim.id, Dropped(), "done", done))
        tally.flush()
    assert [one.event for one in caplog.records] == ["history.away"]  # once, not each time
    away.away = False
    assert list(counted(tally, book).values()) == [3]


def test_counts_are_written_without_being_asked(tally, book, claim, monkeypatch):
    monkeypatch.setattr("forebay.workers.telemetry.job_tally.FLUSH_S", 0.05)
    tally.finished(claim, Recorded(claim.id, Dropped(), "done", receipt(claim)))
    end = time.monotonic() + 10
    while not list(book.read(time.time() - 10, time.time())):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_book_with_too_many_tenants_counts_the_rest_together(book, redis, monkeypatch):
    monkeypatch.setattr(job_book, "MAX_FIELDS", 5)
    now = time.time()
    for number in range(10):
        book.add(job_counts(JobGroup(f"t{number}", "embed", "deny", "done"), jobs=1), now)
    tenants = Counter(count.of[0] for count in book.read(now, now))
    assert tenants[OTHERS] == 1
    assert sum(count.number for count in book.read(now, now)) == 10
    assert len(tenants) < 10
    (key,) = redis.keys("fb:books:jobs:[0-9]*")
    assert 0 < redis.ttl(key) <= 35 * 86_400
