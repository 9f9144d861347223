"""The ledger tells the position, the state, the result and the end of a job."""

from __future__ import annotations

import pytest
import redis as redis_py

from forebay.routing.errors import InvalidJob, UnknownJob
from forebay.routing.jobs import new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.settings import Settings
from ledger_jobs import BELL, SURE, answer, failure, job, put


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.2, max_attempts=3), BELL)


@pytest.mark.parametrize("seed", range(5))
def test_the_position_is_the_number_of_claims_before_it(ledger, seed):
    tenants = ["acme", "beta", "carl"]
    jobs = [
        job(
            tenants[(seed * 7 + i * i) % 3], priority="bulk" if i % 4 == seed % 4 else "interactive"
        )
        for i in range(30)
    ]
    put(ledger, *jobs)
    for _ in range(seed):
        ledger.claim("route")
    waiting = {
        one.id: ledger.status(one.id).position
        for one in jobs
        if ledger.status(one.id).state == "waiting"
    }
    order = [ledger.claim("route").id for _ in range(len(waiting))]
    assert order == sorted(waiting, key=waiting.__getitem__)
    assert sorted(waiting.values()) == list(range(len(waiting)))


def test_results_are_answers_failures_and_nothing_for_jobs_that_have_not_ended(ledger):
    done, failed, waiting = put(ledger, job(), job(), job())
    claims = [ledger.claim("route") for _ in range(2)]
    ledger.settle(claims[0], made := answer(claims[0]))
    ledger.settle(claims[1], failure(claims[1]))
    results = ledger.results([failed, waiting, new_id("acme"), done])
    assert (results[0].status, results[0].error) == ("failed", "bad_answer")
    assert results[1] is results[2] is None
    assert results[3].content == made.content


def test_a_damaged_result_is_an_error_and_hides_no_other(ledger, redis):
    ids = put(ledger, job(), job())
    for claim in [ledger.claim("route") for _ in ids]:
        ledger.settle(claim, answer(claim))
    redis.set(f"fb:answer:{ids[0]}", b"zjunk")
    damaged, sound = ledger.results(ids)
    assert isinstance(damaged, InvalidJob)
    assert sound.status == "done"


def test_the_status_says_where_a_job_is_and_whether_its_queue_is_served(ledger):
    (job_id,) = put(ledger, job())
    status = ledger.status(job_id)
    assert (status.state, status.hop, status.queue) == ("waiting", "route", "route")
    assert (status.position, status.depth, status.served, status.receipt) == (0, 1, False, None)
    ledger.serve("worker-1", ["route"], for_s=5)
    assert ledger.status(job_id).served
    ledger.route(ledger.claim("route"), "local.default", "deny", "verdict_easy", SURE)
    status = ledger.status(job_id)
    assert (status.hop, status.queue, status.served) == ("local", "local.default", False)
    claim = ledger.claim("local.default")
    assert (ledger.status(job_id).position, ledger.status(job_id).depth) == (None, 0)
    ledger.settle(claim, answer(claim))
    assert ledger.status(job_id).served, "an ended job needs no worker"
    assert ledger.status(job_id).receipt.status == "done"


def test_depths_count_the_waiting_jobs_of_each_queue(ledger):
    put(ledger, job(), job())
    ledger.route(ledger.claim("route"), "embed", "deny", "embed_is_local", SURE)
    assert ledger.depths() == {"route": 1, "embed": 1}


def test_a_watcher_gets_the_end_of_a_job_once_even_if_it_has_ended(ledger, redis):
    (job_id,) = put(ledger, job())
    assert ledger.watch(job_id, "fb:wake:acme:1") == "waiting"
    ledger.cancel(job_id)
    assert ledger.watch(job_id, "fb:wake:acme:2") == "cancelled"
    ended = {b"id": job_id.encode(), b"state": b"cancelled"}
    assert [fields for _, fields in redis.xrange("fb:wake:acme:1")] == [ended]
    assert not redis.exists("fb:wake:acme:2", f"fb:watchers:{job_id}")


def test_an_unknown_job_has_neither_record_nor_status_nor_end(ledger):
    unknown = new_id("acme")
    for look in (
        ledger.record,
        ledger.status,
        lambda job_id: ledger.watch(job_id, "fb:wake:acme:1"),
    ):
        with pytest.raises(UnknownJob):
            look(unknown)
    (known,) = put(ledger, job())
    assert ledger.watch_all([unknown, known], "fb:wake:acme:1") == [None, "waiting"]


def test_a_user_that_an_earlier_release_made_reads_answers(ledger, redis, redis_url):
    (job_id,) = put(ledger, job("acme"))
    claim = ledger.claim("route")
    ledger.settle(claim, answer(claim))
    ledger.load_scripts()
    rules = ["on", ">pw", "~fb:*", "+evalsha", "+hlen", "+hgetall", "+get", "+time"]
    redis.execute_command("ACL", "SETUSER", "before", *rules)
    try:
        with redis_py.Redis.from_url(redis_url.replace("://", "://before:pw@")) as weak:
            (found,) = LedgerReader(weak, Settings()).results([job_id])
        assert found.status == "done"
    finally:
        redis.acl_deluser("before")
