"""Several jobs on one thread end as each would by itself, and none waits for a slow one."""

import time
from dataclasses import replace

import pytest

from forebay.routing.errors import EngineDied, InvalidJob
from forebay.routing.jobs import Classify, Embed, Extract, Generate, Job, Message, Summarize
from forebay.workers.cascade.side_by_side import JOBS_AT_ONCE
from forebay.workers.runtime.execute import attempt
from forebay.workers.runtime.outcomes import Answered, Dropped, Failed
from patience import until

pytest_plugins = ("waterfall",)

TOTAL = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}


def ask(text, **options):
    return Generate(messages=[Message(role="user", content=text)], **options)


def say(text):
    return ask(f"a question [[echo: say={text}]]")


REQUESTS = [
    say("yes"),
    Classify(text="good", labels=["good", "bad"]),
    Classify(text="bad", labels=["good", "bad"]),
    Extract(text='the total is 7 [[echo: say={"total": 7}]]', schema=TOTAL),
    Extract(text='the total is 7 [[echo: say={"total": 9}]]', schema=TOTAL),
    Summarize(text="a text that is to be said shorter, " * 4),
    Embed(texts=["one", "two"]),
    Embed(texts=["three"]),
    ask("a question [[echo: unknown=1]]"),
    ask("word " * 5000),
    say("yes"),
]


def claimed(lanes, requests, **options):
    """Claim a job for each request in the local lane, in the order of the requests."""
    made = [Job(**{"request": request, "tenant": "acme", **options}) for request in requests]
    assert lanes.ledger.create(made) == [job.id for job in made]
    claims = []
    for queue in ("local.default", "embed"):
        lanes.work("route")
        claims += lanes.ledger.claim_many(queue, len(made))
    by_id = {claim.id: claim for claim in claims}
    return [by_id[job.id] for job in made]


def gist(outcome):
    """Return all that a caller can see of an outcome, without ids and times."""
    if not isinstance(outcome, Answered):
        return type(outcome).__name__, getattr(outcome, "error", None) and outcome.error.code
    return outcome.answer.model_dump(exclude={"id", "queued_s", "worked_s", "total_s"})


def together(lanes, claims):
    """Return the outcomes in the order of the claims, and the groups in which they came."""
    groups, outcomes = [], {}
    for worked in lanes.local.work_all(claims):
        groups.append([claim.id for claim, _ in worked])
        outcomes |= {claim.id: outcome for claim, outcome in worked}
    return [outcomes[claim.id] for claim in claims], groups


@pytest.mark.parametrize("egress", ["deny", "allow"])
def test_jobs_of_all_kinds_end_side_by_side_as_they_end_alone(lanes, egress):
    alone = [attempt(lanes.local.work, claim) for claim in claimed(lanes, REQUESTS, egress=egress)]
    outcomes, _ = together(lanes, claimed(lanes, REQUESTS, egress=egress))
    assert [gist(one) for one in outcomes] == [gist(one) for one in alone]
    assert len({type(one) for one in outcomes}) == 2  # answered, and failed or escalated


def test_a_slow_job_does_not_keep_the_answers_of_others_waiting(lanes):
    slow = ask("a question [[echo: delay=0.2]] [[echo: say=one two three]]")
    claims = claimed(lanes, [slow, *[say("yes")] * 5])
    began, first_s = time.monotonic(), {}
    for worked in lanes.local.work_all(claims):
        first_s |= {claim.id: time.monotonic() - began for claim, _ in worked}
    assert max(first_s[claim.id] for claim in claims[1:]) < first_s[claims[0].id]
    assert first_s[claims[0].id] > 0.2


def test_what_is_ready_together_ends_together_but_not_more_than_a_few_jobs(lanes):
    outcomes, groups = together(lanes, claimed(lanes, [say("yes")] * 40))
    assert all(isinstance(outcome, Answered) for outcome in outcomes)
    assert max(map(len, groups)) <= JOBS_AT_ONCE


def test_the_job_of_a_tenant_with_few_is_ready_by_itself_before_many_of_another(lanes):
    many, few = claimed(lanes, [say("yes")] * 9), claimed(lanes, [say("yes")], tenant="few")
    outcomes, groups = together(lanes, [*many, *few])
    assert all(isinstance(outcome, Answered) for outcome in outcomes)
    assert groups[0] == [few[0].id]


def test_a_job_that_is_alone_needs_no_other_thread(lanes, monkeypatch):
    monkeypatch.setattr(lanes.local._side_by_side, "_aside", None)
    for claim in claimed(lanes, [say("yes"), say("no")], stream=True):
        (outcome,), _ = together(lanes, [claim])
        assert isinstance(outcome, Answered)
    monkeypatch.undo()


def test_a_job_that_is_damaged_or_lost_does_not_stop_the_others(lanes):
    claims = claimed(lanes, [say("yes")] * 4)
    damaged = replace(claims[0], sealed=b"not a job")
    slow = claimed(lanes, [ask("a question [[echo: delay=30]]")])[0]
    work = lanes.local.work_all([damaged, slow, *claims[1:]])
    outcomes = {}
    for worked in work:
        outcomes |= {claim.id: outcome for claim, outcome in worked}
        if len(outcomes) == 4:
            lanes.ledger.cancel(slow.id)
            lanes.local._leases._let_lost_go()
    assert isinstance(outcomes[damaged.id], Failed)
    assert isinstance(outcomes[damaged.id].error, InvalidJob)
    assert outcomes[slow.id] == Dropped()
    assert all(isinstance(outcomes[claim.id], Answered) for claim in claims[1:])
    assert lanes.local._leases._held == {}


def test_a_job_that_an_engine_died_with_is_answered_all_the_same(lanes):
    claims = claimed(lanes, [say("yes")] * 3)
    record = claims[1].record._replace(error=EngineDied.code)
    outcomes, _ = together(lanes, [claims[0], replace(claims[1], record=record), claims[2]])
    assert all(isinstance(outcome, Answered) for outcome in outcomes)


def test_vectors_that_do_not_fit_the_texts_fail_only_the_jobs_that_have_them(lanes, monkeypatch):
    engine = lanes.local._answerer._engine
    embed = engine.embed

    def first_only(texts):
        found = embed(texts)
        return found.model_copy(update={"vectors": found.vectors[:1]})

    monkeypatch.setattr(engine, "embed", first_only)
    requests = [Embed(texts=["one", "two"]), Embed(texts=["three"]), Embed(texts=["four", "five"])]
    outcomes, _ = together(lanes, claimed(lanes, requests))
    assert [type(outcome).__name__ for outcome in outcomes] == ["Failed", "Answered", "Failed"]
    assert outcomes[0].error.code == "bad_answer"


def test_a_streamed_job_tells_its_text_among_others(lanes):
    streamed = claimed(lanes, [say("yes indeed")], stream=True)
    outcomes, _ = together(lanes, [*claimed(lanes, [say("yes")] * 2), *streamed])
    assert all(isinstance(outcome, Answered) for outcome in outcomes)
    until(lambda: lanes.redis.xlen(f"fb:stream:acme:{streamed[0].id}") > 0)
