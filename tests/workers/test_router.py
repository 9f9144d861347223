"""A router works many jobs together and decides as it does one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis as redis_py

from forebay.routing.jobs import Generate, Job, Message
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits import pacing
from forebay.routing.settings import Settings
from forebay.workers.router import Router
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.execute import Executor, at_once
from forebay.workers.runtime.outcomes import Failed, Retry, Routed
from ledger_jobs import BELL, put

WORDS = ("hello", "prove the lemma of Zorn", "2 + 2 = ?", "translate this into Latin: river")
PACED = "[defaults.pace]\nshare = 0.5\n"


@pytest.fixture
def router(redis, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(PACED)
    return Router(Ledger(redis, Settings(policy_file=policy), BELL))


def asks():
    for number, text in enumerate(WORDS * 3):
        request = Generate(messages=[Message(role="user", content=f"{text} {number}")])
        yield Job(request=request, egress="allow")
        yield Job(request=request, egress="deny")
        yield Job(request=request, egress="allow", lane="bedrock")


def claimed(redis, router, jobs):
    """Begin anew with these jobs, and claim them all."""
    redis.flushall()
    router._ledger.load_scripts()
    put(router._ledger, *jobs)
    return router._ledger.claim_many("route", len(jobs))


def test_jobs_that_are_worked_together_go_where_each_would_go_alone(redis, router):
    jobs = list(asks())
    alone = [router.work(claim) for claim in claimed(redis, router, jobs)]
    (together,) = router.work_all(claimed(redis, router, jobs))
    assert [outcome for _, outcome in together] == alone
    assert len({outcome.queue for outcome in alone}) > 1


def test_one_job_that_cannot_be_worked_does_not_stop_the_others(redis, router):
    jobs = list(asks())
    claims = claimed(redis, router, jobs)
    damaged = replace(claims[0], sealed=b"not a job")
    ((first, *others),) = router.work_all([damaged, *claims[1:]])
    assert isinstance(first[1], Failed)
    assert all(isinstance(outcome, Routed) for _, outcome in others)


def test_jobs_of_a_paused_kind_wait_and_the_others_go(redis, router):
    jobs = list(asks())[:4]
    claims = claimed(redis, router, jobs)
    redis.hset("fb:paused", "kind:generate", "a test")
    (worked,) = router.work_all(claims)
    assert all(isinstance(outcome, Retry) for _, outcome in worked)


def test_without_redis_the_thresholds_of_the_policy_decide(redis, router, monkeypatch):
    claims = claimed(redis, router, list(asks()))

    def away(*_):
        raise redis_py.ConnectionError

    monkeypatch.setattr(pacing, "run_all", away)
    (worked,) = router.work_all(claims)
    assert all(isinstance(outcome, Routed | Failed) for _, outcome in worked)


def test_a_doorbell_works_many_jobs_in_few_round_trips(redis, router):
    put(router._ledger, *asks())
    router._ledger.load_scripts()
    before = redis.info("stats")["total_reads_processed"]
    executor = Executor(
        router._ledger, router.work, InFlight(1), turn=at_once(64), work_all=router.work_all
    )
    done = executor.answer_doorbell("route")
    assert len(done) == 36
    assert redis.info("stats")["total_reads_processed"] - before < 20
    assert {recorded.state for recorded in done} == {"waiting"}
