"""Jobs and answers of other versions: what an older part leaves alone, and what it reads anyway."""

from __future__ import annotations

import json

import pytest

from forebay.routing.jobs import CONTRACT, Generate, Generation, Job, json_schema
from ledger_jobs import answer, job, put
from patience import until


def newer(ledger, monkeypatch) -> str:
    """Submit a job as the next version would: of a kind that this one does not know."""
    with monkeypatch.context() as patch:
        patch.setattr(Job, "contract", CONTRACT + 1)
        (job_id,) = put(ledger, job())
    ledger.redis.hset(f"fb:job:{job_id}", "kind", "translate")
    return job_id


CHAT = {"messages": [{"role": "user", "content": "hello"}]}


def test_the_record_and_the_schema_carry_the_version(ledger):
    asked = Job(request=Generate(**CHAT, logprobs=2))
    (job_id,) = ledger.create([asked])
    assert ledger.record(job_id).contract == asked.contract == CONTRACT
    assert json_schema()["contract"] == CONTRACT


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        (Job(request=Generate(**CHAT)), 1),
        (Job(request=Generate(**CHAT, logprobs=0)), 2),
        (Job(request=Generate(**CHAT), lane="local", model="echo"), 2),
    ],
)
def test_a_job_without_new_fields_is_stored_as_earlier_versions_stored_it(asked, version):
    stored = asked.model_dump(mode="json")
    assert asked.contract == version
    assert ("model" in stored or "logprobs" in stored["request"]) == (version > 1)


def test_a_text_without_probabilities_is_stored_as_earlier_versions_stored_it():
    assert set(Generation(text="hello").model_dump()) == {"kind", "text", "finish"}


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
