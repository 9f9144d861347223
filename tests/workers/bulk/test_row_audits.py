"""Audits of rows: a share of the kept answers is compared with Bedrock's, as of jobs."""

from __future__ import annotations

import pytest

from forebay.producers.client import Client
from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Answer
from forebay.routing.learning import audits
from forebay.routing.learning.job_types import digest
from shards import LABELS, put, rows_of, shard, work_shards

pytest_plugins = ["waterfall", "answering"]

CLASSIFY = {"kind": "classify", "labels": LABELS}


def worked(lanes, *texts, **fields):
    made = shard(*texts, **{"egress": "allow", **fields})
    put(lanes.ledger, made)
    work_shards(lanes)
    return made


def kept(lanes, tenant="acme"):
    return [name.decode() for name in lanes.redis.zrange(f"fb:audited:{tenant}", 0, -1)]


def test_a_kept_row_is_audited_and_teaches_as_a_job_does(lanes):
    lanes.mock.answer = "billing"
    made = worked(lanes, "a billing question", "no login here")
    lanes.work()
    found = {audit.outcome for audit in lanes.audits.read()}
    assert found == {0.0, 1.0}
    first = next(audit for audit in lanes.audits.read() if audit.outcome == 0.0)
    assert (first.kind, first.how, first.answered_by, first.tenant) == (
        "classify", "compared", "echo", "acme",
    )  # fmt: skip
    assert first.type == digest(made.job(1, "allow"), lanes.local._conclusion._sampler._secret)
    assert first.job in kept(lanes)
    assert lanes.redis.get(f"fb:content:{first.job}") is None


def test_the_audited_record_holds_the_answer_of_the_row_and_expires(lanes):
    worked(lanes, "a billing question")
    (row,) = kept(lanes)
    (answer,) = lanes.ledger.results([row])
    assert isinstance(answer, Answer)
    assert (answer.content.label, answer.lane, answer.model) == ("billing", "local", "echo")
    assert answer.reasons == ("bulk",)
    for key in (f"fb:job:{row}", f"fb:answer:{row}", "fb:audited:acme"):
        assert 0 < lanes.redis.pttl(key) <= audits.TERM_S * 1000
    shadow = lanes.ledger.record(row).audited_as
    assert lanes.ledger.record(shadow).audit_of == row
    lanes.ledger.forget(row)
    assert not lanes.redis.exists(f"fb:job:{row}", f"fb:job:{shadow}", f"fb:content:{shadow}")


def test_an_audit_outlives_a_client_that_forgets_its_shards(lanes, answering):
    lanes.mock.answer = "billing"
    rows = [{"text": f"billing {n}"} for n in range(60)]
    with Client(tenant="acme", redis=lanes.redis, settings=lanes.ledger.settings) as client:
        with client.bulk(rows, egress="allow", max_usd=0, **CLASSIFY) as bulk:
            assert {row["lane"] for row in bulk} == {"local"}
        record = client.bulk_progress(bulk.id)
    answering.stop()
    lanes.work()
    found = list(lanes.audits.read())
    assert len(found) == 60
    assert {audit.outcome for audit in found} == {1.0}
    assert record.spent_usd == 0


@pytest.mark.parametrize(
    ("rules", "fields"),
    [
        ("", {"egress": "deny"}),
        ("\n[tenants.acme]\nforce_deny = true\n", {}),
        ("\n[tenants.acme.audit]\nshare = 0.0\n", {}),
        ("\n[tenants.acme.audit]\nusd_per_day = 0.0\n", {}),
        ("", {"kind": "embed", "rows": [{"texts": ["a"]}], "common": {}}),
    ],
)
def test_what_may_not_be_audited_is_not(lanes, rules, fields):
    lanes.rules(rules)
    worked(lanes, "a billing question", **fields)
    lanes.work()
    assert kept(lanes) == []
    assert not lanes.mock.calls


def test_a_shard_whose_record_forbids_egress_has_no_audit(lanes):
    made = shard("a billing question", egress="allow")
    put(lanes.ledger, made)
    work_shards(lanes, "route")
    claim = lanes.ledger.claim("local.default", shards=True)
    job = made.job(0, "allow")
    answer = Answer(
        **claim.record.heading(), status="done", lane="local", model="echo", revision="1",
        content={"kind": "classify", "label": "billing", "scores": {}},
    )  # fmt: skip
    lanes.redis.hset(f"fb:job:{made.id}", "egress", "deny")
    assert lanes.audits.begin_row(claim, job, answer) is None
    lanes.redis.hset(f"fb:job:{made.id}", "egress", "allow")
    first = lanes.audits.begin_row(claim, job, answer)
    assert first == lanes.audits.begin_row(claim, job, answer)
    lanes.ledger.retry(claim, "engine_busy", counted=False)
    assert lanes.audits.begin_row(claim, made.job(0, "allow"), answer) is None
    assert len(kept(lanes)) == 1


def test_a_degraded_row_and_one_that_goes_up_are_not_sampled(lanes):
    number = {"type": ["number", "null"]}
    schema = {"type": "object", "properties": {"n": number}, "required": ["n"]}
    fields = {"kind": "extract", "common": {"schema": schema}}
    text = 'Bill n: 3. [[echo: say={"n": null}]]'
    (stays,) = rows_of(lanes.ledger, worked(lanes, text, max_cost_usd=0.0, **fields))
    (up,) = rows_of(lanes.ledger, worked(lanes, text, **fields))
    assert (stays.status, stays.degraded, up.status) == ("done", True, "up")
    assert kept(lanes) == []


def test_a_tenant_has_so_many_rows_audited_and_no_more(lanes, monkeypatch):
    monkeypatch.setattr(audits, "MAX_ROWS_AUDITED", 2)
    made = worked(lanes, *(f"billing {n}" for n in range(5)))
    assert len(kept(lanes)) == 2
    assert {row.status for row in rows_of(lanes.ledger, made)} == {"done"}
    lanes.redis.zadd("fb:audited:acme", dict.fromkeys(kept(lanes), 1))
    worked(lanes, "billing again")
    assert len(kept(lanes)) == 1


def test_an_audit_that_cannot_begin_costs_no_row(lanes, monkeypatch, caplog):
    def away(*_):
        raise Unavailable("Redis is away")

    monkeypatch.setattr(audits.Audits, "begin_row", away)
    made = worked(lanes, "a billing question")
    (row,) = rows_of(lanes.ledger, made)
    assert row.status == "done"
    assert "is not audited" in caplog.text
