"""A job as it is stored: without the fields that were left out, which have their defaults."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.routing.base import changed
from forebay.routing.jobs import Extract, Job, Summarize, parse_job

ASK = Summarize(text="a text")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"egress": "deny", "metadata": {}},
        {"egress": "allow", "lane": "bedrock", "model": "one", "priority": "bulk", "cache": True},
        {"deadline": timedelta(hours=1), "max_cost_usd": 0.0, "idempotency_key": "key"},
        {"metadata": {"a": "null"}, "stream": False},
    ],
    ids=["nothing", "defaults", "pinned", "bounded", "marked"],
)
def test_a_stored_job_is_read_as_it_was(given):
    job = Job(tenant="acme", request=ASK, **given)
    assert parse_job(job.stored()) == job


def test_what_was_left_out_is_not_stored():
    stored = Job(request=ASK).stored()
    assert b"tenant" in stored
    assert b"max_words" in stored  # a request is stored as a whole
    for name in ("deadline", "metadata", "priority", "idempotency_key"):
        assert name.encode() not in stored


def test_what_was_changed_later_is_stored():
    job = Job(request=ASK, egress="allow")
    assert parse_job(changed(job, lane="bedrock").stored()).lane == "bedrock"
    assert parse_job(job.model_copy(update={"cache": True}).stored()).cache


def test_a_schema_keeps_what_is_null_in_it():
    schema = {"type": "object", "properties": {"a": {"enum": [None, "x"], "default": None}}}
    job = Job(request=Extract(text="a", schema=schema))
    assert parse_job(job.stored()).request.schema_ == job.request.schema_
