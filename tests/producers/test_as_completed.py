"""`as_completed`: answers come as their jobs end, each with its handle and its item."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.producers.async_client import AsyncClient
from forebay.producers.handles import JobHandle
from forebay.routing.errors import InvalidJob, ResultTimeout, UnknownJob
from forebay.routing.jobs import Answer, new_id
from working import ask, settle, working

pytestmark = pytest.mark.slow


def outcome(completed):
    answer = completed.answer
    return answer.content.text if isinstance(answer, Answer) else answer.code


def claims(client, count):
    return {claim.id: claim for claim in (client._ledger.claim("route") for _ in range(count))}


def test_answers_come_in_the_order_in_which_the_jobs_end(client):
    handles = [client.submit(ask(text)) for text in "abc"]
    held = claims(client, 3)
    answers = client.as_completed(handles, timeout=10)
    with ThreadPoolExecutor(1) as pool:
        for handle in reversed(handles):
            first = pool.submit(next, answers)
            settle(client._ledger, held[handle])
            completed = first.result(10)
            assert completed.handle == handle
            assert completed.item is handle
            assert completed.handle == completed.answer.id
    assert list(answers) == []


def test_requests_jobs_handles_and_ids_may_be_mixed_and_errors_come_too(client):
    job, stored, handle = (
        client.job(ask("job")),
        str(client.submit(ask("id"))),
        client.submit(ask("handle")),
    )
    unknown, foreign = new_id("acme"), new_id("globex")
    request, wrong = ask("request"), {"kind": "summarize", "text": ""}
    items = [job, stored, handle, unknown, foreign, request, wrong, 3, "no id", ask("bad")]
    with working(client._ledger):
        found = list(client.as_completed(iter(items), timeout=10))
    outcomes = {id(one.item): outcome(one) for one in found}
    assert [outcomes[id(item)] for item in items] == [
        "JOB", "ID", "HANDLE", "unknown_job", "unknown_job", "REQUEST", "invalid_job",
        "invalid_job", "unknown_job", "bad_answer",
    ]  # fmt: skip
    assert {one.handle for one in found if one.item is stored} == {stored}
    assert all(isinstance(one.handle, JobHandle) for one in found if isinstance(one.answer, Answer))
    assert client._wakeups._expected == {}


def test_an_answer_that_is_there_already_comes_at_once(client):
    handles = [client.submit(ask(text)) for text in "ab"]
    for claim in claims(client, 1).values():
        settle(client._ledger, claim)
    first = next(client.as_completed(reversed(handles), timeout=5))
    assert (first.handle, outcome(first)) == (handles[0], "A")


def test_thousands_of_requests_come_each_once(client):
    texts = [f"t{i}" if i % 9 else "bad" for i in range(3000)]
    with working(client._ledger):
        found = list(client.as_completed((ask(text) for text in texts), timeout=60))
    assert sorted(map(outcome, found)) == sorted(
        text.upper() if text != "bad" else "bad_answer" for text in texts
    )
    for one in found:
        if isinstance(one.answer, Answer):
            assert one.answer.content.text == one.item.text.upper()


def test_a_timeout_names_the_jobs_under_way(client):
    handles = [client.submit(ask(text)) for text in "abc"]
    with pytest.raises(ResultTimeout) as caught:
        next(client.as_completed(handles, timeout=0.05))
    assert caught.value.job_ids == tuple(handles)
    assert {client.status(handle).state for handle in handles} == {"waiting"}


def test_ending_early_leaves_the_jobs_of_handles_alone(client):
    known, answers = client.submit(ask("known")), None
    answers = client.as_completed([known, ask("bare")], timeout=10)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, answers)
        while client._ledger.depths().get("route", 0) < 2:
            pass
        held = claims(client, 2)
        settle(client._ledger, held.pop(known))
        assert first.result(10).handle == known
    again = client.submit(ask("again"))
    answers.close()
    (bare,) = held
    assert client.status(bare).state == "cancelled"
    assert client.status(again).state == "waiting"


@pytest.mark.parametrize("wrong", [None, 3, "acme." + "0" * 32, ask(), {"kind": "summarize"}])
def test_what_is_no_list_is_refused_at_once(client, wrong):
    with pytest.raises(InvalidJob, match="`result` takes a single one") as caught:
        client.as_completed(wrong)
    assert caught.value.field == "items"


def test_a_job_that_is_forgotten_meanwhile_is_an_error_in_its_place(client):
    handle = client.submit(ask())
    answers = client.as_completed([handle], timeout=10)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, answers)
        while handle not in client._wakeups._expected:
            pass
        client.forget(handle)
        assert isinstance(first.result(10).answer, UnknownJob)


def test_asyncios_form_does_the_same(client, settings):
    async def main():
        async def items():
            yield ask("request")
            await asyncio.sleep(0.01)
            yield await other.submit(ask("handle"))
            yield 3

        async with AsyncClient(tenant="acme", settings=settings) as other:
            with working(client._ledger):
                return [one async for one in other.as_completed(items(), timeout=10)]

    found = asyncio.run(main())
    assert sorted(map(outcome, found)) == ["HANDLE", "REQUEST", "invalid_job"]
