"""Jobs and answers of other versions: what an older part leaves alone, and what it reads anyway."""

from __future__ import annotations

import json

import pytest

from forebay.routing.jobs import CONTRACT, json_schema
from forebay.routing.ledger import admission
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, answer, job, put
from patience import until


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(), BELL)


def newer(ledger, monkeypatch) -> str:
    """Submit a job as the next version would: of a kind that this one does not know."""
    with monkeypatch.context() as patch:
        patch.setattr(admission, "CONTRACT", CONTRACT + 1)
        (job_id,) = put(ledger, job())
    ledger.redis.hset(f"fb:job:{job_id}", "kind", "translate")
    return job_id


def test_the_record_and_the_schema_carry_the_version(ledger):
    (job_id,) = put(ledger, job())
    assert ledger.record(job_id).contract == CONTRACT
    assert json_schema()["contract"] == CONTRACT


def test_a_job_without_a_version_is_of_the_first(ledger):
    (job_id,) = put(ledger, job())
    ledger.redis.hdel(f"fb:job:{job_id}", "contract")
    assert ledger.record(job_id).contract == 1
    assert ledger.claim("route").id == job_id


def test_a_newer_job_is_left_to_newer_workers_and_loses_no_attempt(ledger, monkeypatch):
    first = newer(ledger, monkeypatch)
    (second,) = put(ledger, job())
    assert ledger.claim("route").id == second, "what this worker can read is not held up"
    assert ledger.claim("route") is None
    fields = ledger.redis.hgetall(f"fb:job:{first}")
    assert (fields[b"state"], fields[b"attempts"]) == (b"waiting", b"0")
    monkeypatch.setattr("forebay.routing.ledger.ledger.CONTRACT", CONTRACT + 1)
    ledger.redis.hset(f"fb:job:{first}", "kind", "summarize")

    def claimed():
        ledger.sweep()
        return ledger.claim("route")

    assert until(claimed).id == first


def test_an_answer_with_fields_of_a_newer_version_is_read_without_them(ledger):
    (job_id,) = put(ledger, job())
    claim = ledger.claim("route")
    ledger.settle(claim, answer(claim))
    receipt = json.loads(ledger.redis.hget(f"fb:job:{job_id}", "receipt"))
    receipt |= {"joules": 3, "checks": [{"name": "length", "passed": True, "severity": "low"}]}
    ledger.redis.hset(f"fb:job:{job_id}", "receipt", json.dumps(receipt))
    content = {"kind": "summarize", "text": "short", "language": "en"}
    sealed = ledger.seal.close(json.dumps(content).encode())
    ledger.redis.set(f"fb:answer:{job_id}", sealed)
    (read,) = ledger.results([job_id])
    assert (read.content.text, read.checks[0].name) == ("short", "length")
    assert ledger.status(job_id).receipt.checks[0].passed
