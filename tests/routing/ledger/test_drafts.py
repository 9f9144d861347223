"""The answer that is kept with a running job can be replaced or removed by its claim alone."""

import pytest

from forebay.routing.jobs import Job, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.2), BELL)


@pytest.fixture
def claim(ledger):
    ledger.create([Job(request=Summarize(text="We met at noon."))])
    return ledger.claim("route")


def test_a_draft_is_replaced_and_removed(ledger, redis, claim):
    ledger.keep_draft(claim, b"first")
    ledger.keep_draft(claim, b"second")
    assert redis.get(f"fb:draft:{claim.id}") == b"second"
    ledger.keep_draft(claim, b"")
    assert not redis.exists(f"fb:draft:{claim.id}")


def test_large_drafts_are_not_claimed_all_at_once(ledger, redis):
    made = ledger.create([Job(request=Summarize(text="We met at noon.")) for _ in range(4)])
    for job_id in made:
        redis.set(f"fb:draft:{job_id}", "x" * 40_000)
    assert [len(ledger.claim_many("route", 5)) for _ in range(2)] == [2, 2]


def test_a_lost_claim_changes_no_draft(ledger, redis, claim):
    ledger.keep_draft(claim, b"kept")
    ledger.retry(claim, "engine_died")
    for draft in (b"late", b""):
        ledger.keep_draft(claim, draft)
        assert redis.get(f"fb:draft:{claim.id}") == b"kept"
