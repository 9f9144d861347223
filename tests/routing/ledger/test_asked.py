"""What the gateway was asked is kept with its job, as long, and counts as held by its tenant."""

import pytest

from forebay.routing.jobs import Job, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.settings import Settings
from ledger_jobs import BELL


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.2, retention_s=60), BELL)


@pytest.fixture
def job_id(ledger):
    return ledger.create([Job(request=Summarize(text="We met at noon."))])[0]


def keep(redis, job_id, note):
    return Transitions(redis).run("keep_asked", job_id, note)


def held(redis):
    return int(redis.get("fb:held:default") or 0)


def test_a_note_waits_as_long_as_its_job_and_expires_with_it(ledger, redis, job_id):
    assert keep(redis, job_id, b"note") == 1
    assert redis.ttl(f"fb:asked:{job_id}") == -1
    ledger.cancel(job_id)
    assert redis.ttl(f"fb:asked:{job_id}") == redis.ttl(f"fb:job:{job_id}") == 60


def test_a_note_of_a_job_that_has_ended_expires_with_it_too(ledger, redis, job_id):
    ledger.cancel(job_id)
    keep(redis, job_id, b"note")
    assert 58 <= redis.ttl(f"fb:asked:{job_id}") <= 60


def test_a_note_counts_as_held_until_its_job_is_forgotten(ledger, redis, job_id):
    before = held(redis)
    keep(redis, job_id, b"x" * 5_000)
    assert held(redis) == before + 5_000
    ledger.cancel(job_id)
    assert 5_000 <= held(redis) < 5_000 + before + 1_100
    ledger.forget(job_id)
    assert (held(redis), redis.exists(f"fb:asked:{job_id}")) == (0, 0)


def test_only_the_first_note_of_a_job_that_exists_is_kept(redis, job_id):
    keep(redis, job_id, b"first")
    assert keep(redis, job_id, b"second") == 0
    assert redis.get(f"fb:asked:{job_id}") == b"first"
    assert keep(redis, "default." + "0" * 32, b"note") == 0
    assert not redis.exists("fb:asked:default." + "0" * 32)


def change(redis, job_id, note):
    return Transitions(redis).run("change_asked", job_id, note)


def test_a_note_is_replaced_keeps_its_time_and_is_counted_anew(ledger, redis, job_id):
    assert change(redis, job_id, b"none yet") == 0
    before = held(redis)
    keep(redis, job_id, b"x" * 100)
    ledger.cancel(job_id)
    redis.expire(f"fb:asked:{job_id}", 30)
    after = held(redis)
    assert change(redis, job_id, b"y" * 5_000) == 1
    assert redis.get(f"fb:asked:{job_id}") == b"y" * 5_000
    assert held(redis) == after + 4_900
    assert 28 <= redis.ttl(f"fb:asked:{job_id}") <= 30
    ledger.forget(job_id)
    assert held(redis) == 0 <= before
    assert change(redis, job_id, b"gone") == 0
