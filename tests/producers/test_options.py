"""The jobs that options make: those of a map are checked once, and are the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forebay.producers.options import job_maker, make_job
from forebay.routing.errors import EgressDenied, InvalidJob
from forebay.routing.jobs import Classify, Embed, Generate, Job, Message, Summarize

ASK = Summarize(text="a text")
REQUESTS = [
    ASK,
    Classify(text="a text", labels=["a", "b"]),
    Generate(messages=[Message(role="user", content="hello")]),
    {"kind": "summarize", "text": "as data"},
    Embed(texts=["a"]),
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"egress": "allow", "priority": "bulk", "cache": True},
        {"lane": "local", "model": "one"},
        {"max_cost_usd": 1.5, "metadata": {"a": "b"}},
    ],
    ids=["none", "cached", "pinned", "named"],
)
def test_jobs_of_a_map_are_those_that_are_made_one_by_one(options):
    make = job_maker("acme", options)
    for request in REQUESTS:
        job = make(request)
        assert job == make_job(request, "acme", {**options}).model_copy(update={"id": job.id})
        assert Job.model_validate(job.model_dump()) == job


def test_every_job_has_an_id_of_its_own():
    make = job_maker("acme", {})
    ids = {make(ASK).id for _ in range(100)}
    assert len(ids) == 100
    assert all(each.startswith("acme.") for each in ids)


def test_a_request_that_does_not_go_with_the_options_is_refused_after_others_that_do():
    make = job_maker("acme", {"lane": "bedrock", "egress": "allow"})
    make(ASK)
    with pytest.raises(InvalidJob) as caught:
        make(Embed(texts=["a"]))
    assert caught.value.field == "lane"
    with pytest.raises(InvalidJob) as caught:
        make(Generate(messages=[Message(role="user", content="hello")], logprobs=1))
    assert caught.value.field == "lane"


def test_wrong_options_are_wrong_for_each_request():
    make = job_maker("acme", {"lane": "bedrock"})
    for _ in range(2):
        with pytest.raises(EgressDenied):
            make(ASK)


def test_a_deadline_from_now_counts_from_each_job():
    make = job_maker("acme", {"deadline": timedelta(minutes=1)})
    first = make(ASK)
    between = datetime.now(UTC)
    assert first.deadline <= between + timedelta(minutes=1) <= make(ASK).deadline


def test_metadata_that_the_caller_changes_is_that_of_the_moment():
    metadata = {"page": "1"}
    make = job_maker("acme", {"metadata": metadata})
    first = make(ASK)
    metadata["page"] = "2"
    assert [first.metadata, make(ASK).metadata] == [{"page": "1"}, {"page": "2"}]


def test_whole_jobs_stay_as_they_are():
    make = job_maker("acme", {})
    job = Job(tenant="acme", request=ASK)
    assert make(job) is job
    assert make(ASK).id != job.id
