"""`map`: its window, what happens when it ends early, and what asyncio's form leaves free."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import BaseModel

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.routing.errors import (
    ForebayError,
    InvalidJob,
    RedisUnavailable,
    ResultTimeout,
    Unavailable,
)
from forebay.routing.jobs import Answer, Extract, Extraction, Job, Summarize
from forebay.routing.settings import Settings
from working import ask, settle, until_waiting, working

pytestmark = pytest.mark.slow


def states(client, job_ids):
    return [client.status(job_id).state for job_id in job_ids]


def submitted_ids(redis):
    return sorted(key.decode().removeprefix("fb:job:") for key in redis.keys("fb:job:*"))


def answer_one(client):
    """Settle the job that comes first."""
    settle(client._ledger, client._ledger.claim("route"))


def test_an_iteration_that_ends_early_cancels_what_nobody_else_can_ask_for(client, redis):
    whole = client.job(ask("whole"))
    answers = client.map([ask("a"), ask("b"), ask("c"), whole], timeout=10)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, answers)
        while client._ledger.depths().get("route", 0) < 4:
            pass
        answer_one(client)
        assert first.result(10).content.text == "A"
    answers.close()
    found = dict(zip(ids := submitted_ids(redis), states(client, ids), strict=True))
    assert found.pop(whole.id) == "waiting"
    assert sorted(found.values()) == ["cancelled", "cancelled", "done"]
    assert client._wakeups._expected == {}


def outcomes(answers):
    return [a.content.text if isinstance(a, Answer) else a.code for a in answers]


class Odd:
    """An object that is no request, and says so with an error of its own."""

    def __iter__(self):
        raise KeyError("kanarie")

    __getattr__ = __len__ = __bool__ = __iter__


WRONG = [None, 3, "text", b"x", [], object(), Summarize, Odd(), {"kind": "nonsense"},
         {"kind": "summarize", "text": ""}, {"kind": "classify", "text": "x", "labels": Odd()},
         {"kind": "summarize", "text": "x", "nonsense": 1}]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda item: type(item).__name__)
def test_an_item_that_is_no_request_yields_its_error_in_its_place(client, wrong):
    with working(client._ledger):
        answers = list(client.map([ask("a"), wrong, ask("b"), wrong], timeout=10))
    assert outcomes(answers) == ["A", "invalid_job", "B", "invalid_job"]
    assert "kanarie" not in str(answers[1])


def test_an_item_may_be_a_dictionary(client):
    rows = [{"kind": "summarize", "text": "a"}, {"kind": "summarize", "text": ""}]
    with working(client._ledger):
        answers = list(client.map(rows, timeout=10, metadata={"k": "v"}))
    assert outcomes(answers) == ["A", "invalid_job"]
    assert answers[1].field == "text"


def test_wrong_jobs_cost_only_their_own_place(client):
    late = client.job(ask("late"), deadline=timedelta(seconds=0.001))
    other = Job(tenant="globex", request=ask("other"))
    time.sleep(0.01)
    with working(client._ledger):
        answers = list(client.map([late, ask("a"), other, client.job(ask("b"))], timeout=10))
        with_option = list(client.map([client.job(ask("c")), ask("d")], timeout=10, cache=True))
    assert outcomes(answers) == ["invalid_job", "A", "invalid_job", "B"]
    assert [a.field for a in answers if isinstance(a, InvalidJob)] == ["deadline", "tenant"]
    assert outcomes(with_option) == ["invalid_job", "D"]


def test_an_object_that_the_callers_model_refuses_costs_only_its_own_place(client):
    class Total(BaseModel):
        total: int

    requests = [Extract(text="Total 7", schema=Total), Extract(text="Total x", schema=Total)]
    objects = {"Total 7": {"total": 7}, "Total x": {"total": "kanarie"}}
    answers = client.map(requests, timeout=10)
    with ThreadPoolExecutor(1) as pool:
        both = pool.submit(list, answers)
        for _ in requests:
            while (claim := client._ledger.claim("route")) is None:
                time.sleep(0.01)
            content = Extraction(data=objects[claim.job().request.text])
            base = {"id": claim.id, "kind": "extract", "egress": "deny", "status": "done"}
            client._ledger.settle(claim, Answer(**base, lane="local", content=content))
        seven, refused = both.result(10)
    assert seven.content.data == Total(total=7)
    assert refused.code == "bad_answer"


def test_an_iterable_that_goes_on_after_an_error_yields_the_error_in_its_place(client):
    texts = ["a", "", "b", "", "", "c"]
    with working(client._ledger):
        answers = list(client.map(map(ask, texts), timeout=10))
    assert outcomes(answers) == [text.upper() or "invalid_job" for text in texts]


@pytest.mark.parametrize("before", [0, 3, 250, 700])
@pytest.mark.parametrize("error", [KeyError("the caller's own"), InvalidJob("is wrong")])
def test_a_generator_that_raises_raises_after_all_answers_before(client, before, error):
    def requests():
        for i in range(before):
            yield ask(f"t{i}")
        raise error

    with working(client._ledger):
        *answers, raised = drained(client.map(requests(), timeout=20))
    assert raised is error
    assert outcomes(answers) == [f"T{i}" for i in range(before)]


def test_an_error_at_the_very_end_is_not_lost(client):
    answers = client.map(map(ask, ["a", ""]), timeout=10)
    with working(client._ledger):
        assert next(answers).content.text == "A"
        with pytest.raises(InvalidJob):
            next(answers)


def test_a_redis_that_goes_away_costs_no_answer_under_way(fleet):
    server = fleet.start_redis()
    settings = Settings(redis_url=fleet.url)
    with Client(tenant="acme", settings=settings) as client:
        asked = threading.Event()

        def requests():
            yield from map(ask, [f"t{i}" for i in range(250)])
            asked.set()
            time.sleep(0.2)
            fleet.kill(server)
            yield ask("never taken in")

        answers = client.map(requests(), timeout=60)
        with ThreadPoolExecutor(1) as pool:
            mapped = pool.submit(lambda: list(drained(answers)))
            asked.wait(20)
            time.sleep(3)
            server.restart()
            with working(client._ledger):
                *got, error = mapped.result(60)
    assert outcomes(got) == [f"T{i}" for i in range(250)]
    assert isinstance(error, Unavailable)
    assert len(error.job_ids) == 1


def drained(answers):
    """Yield what an iterator yields, and the error that ends it."""
    try:
        yield from answers
    except (ForebayError, KeyError) as error:
        yield error


def test_a_timeout_leaves_all_jobs_under_way_and_gives_their_ids(client):
    answers = client.map([ask("a"), ask("b"), ask("c")], timeout=0.05)
    with pytest.raises(ResultTimeout) as caught:
        next(answers)
    assert len(caught.value.job_ids) == 3
    assert caught.value.job_id == caught.value.job_ids[0]
    assert states(client, caught.value.job_ids) == ["waiting"] * 3
    assert client._wakeups._expected == {}
    with working(client._ledger):
        texts = [client.result(i, timeout=10).content.text for i in caught.value.job_ids]
    assert texts == ["A", "B", "C"]


def test_the_jobs_of_a_map_that_ends_well_are_left_alone(client, redis):
    with working(client._ledger):
        answers = list(client.map([ask("a"), ask("bad"), ask("c")], timeout=10))
    assert len(answers) == 3
    assert sorted(states(client, submitted_ids(redis))) == ["done", "done", "failed"]
    assert answers[1].job_id == answers[1].receipt.id


@pytest.mark.parametrize("requests", [None, 3, "text", ask(), {"kind": "summarize"}])
def test_what_is_no_list_of_requests_is_refused_at_once(client, requests):
    with pytest.raises(InvalidJob) as caught:
        client.map(requests)
    assert caught.value.field == "requests"


def test_one_idempotency_key_for_many_jobs_is_refused(client, redis):
    with pytest.raises(InvalidJob, match="give each Job its own key") as caught:
        client.map([ask("a"), ask("b")], idempotency_key="k")
    assert caught.value.field == "idempotency_key"
    assert not submitted_ids(redis)
    jobs = [Job(tenant="acme", request=ask(text), idempotency_key=text) for text in "ab"]
    with working(client._ledger):
        assert [a.content.text for a in client.map(jobs, timeout=10)] == ["A", "B"]


def test_a_map_whose_client_is_closed_ends_with_one_clear_error(settings):
    client = Client(tenant="acme", settings=settings)
    answers = client.map((ask(str(i)) for i in range(3)), timeout=10)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, answers)
        while not client._wakeups._expected:
            pass
        client.close()
        with pytest.raises(Unavailable, match="the client is closed"):
            waiting.result(10)


# --- asyncio -----------------------------------------------------------------------------------


@pytest.fixture
def blocking(client):
    """A blocking client, for the threads that play the workers."""
    return client


def in_a_loop(settings, main, threads=2):
    """Run a coroutine function with a client, in a loop with a small executor."""

    async def with_client():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
        async with AsyncClient(tenant="acme", settings=settings) as client:
            return await asyncio.wait_for(main(client), 60)

    return asyncio.run(with_client())


def test_many_maps_at_once_hold_no_thread_of_the_application(settings, blocking):
    async def main(client):
        async def one(number):
            requests = [ask(f"{number} {i}") for i in range(5)]
            return [a.content.text async for a in client.map(requests, timeout=30)]

        maps = [asyncio.create_task(one(number)) for number in range(40)]
        await until_waiting(blocking._ledger, 200)
        # Every map waits now, and the application's own work still gets a thread at once.
        name = await asyncio.wait_for(asyncio.to_thread(threading.current_thread), 1)
        with working(blocking._ledger):
            return name, await asyncio.gather(*maps)

    _, texts = in_a_loop(settings, main)
    assert texts == [[f"{number} {i}" for i in range(5)] for number in range(40)]


def test_patient_submits_hold_no_thread_of_the_application(redis):
    async def main():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        settings = Settings(redis_url="redis://127.0.0.1:1/0")
        async with AsyncClient(tenant="acme", settings=settings, patience=3) as client:
            submits = [asyncio.create_task(client.submit(ask())) for _ in range(5)]
            await asyncio.sleep(0.3)
            name = await asyncio.wait_for(asyncio.to_thread(threading.current_thread), 1)
            errors = await asyncio.gather(*submits, return_exceptions=True)
        return name, errors

    _, errors = asyncio.run(main())
    assert [type(error) for error in errors] == [RedisUnavailable] * 5


def test_the_window_of_asyncios_map_is_bounded_too(settings, blocking):
    taken = []

    def requests():
        for i in range(10_000):
            taken.append(i)
            yield ask(str(i))

    async def main(client):
        answers = client.map(requests(), timeout=30)
        with working(blocking._ledger):
            await anext(answers)
        await answers.aclose()

    in_a_loop(settings, main)
    assert 0 < len(taken) <= 2_000


def test_asyncios_map_that_ends_early_cancels_its_jobs(settings, client, redis):
    async def main(other):
        answers = other.map([ask("a"), ask("b"), ask("c")], timeout=30)
        first = asyncio.create_task(anext(answers))
        await until_waiting(client._ledger, 3)
        answer_one(client)
        assert (await first).content.text == "A"
        await answers.aclose()

        waiting = asyncio.create_task(anext(other.map([ask("d")])))
        await until_waiting(client._ledger, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return (await other._here())._wakeups._expected

    assert in_a_loop(settings, main) == {}
    assert sorted(states(client, submitted_ids(redis))) == ["cancelled"] * 3 + ["done"]


def test_a_timeout_of_asyncios_map_gives_the_ids(settings, client):
    async def main(other):
        with pytest.raises(ResultTimeout) as caught:
            await anext(other.map([ask("a"), ask("b")], timeout=0.05))
        return caught.value

    error = in_a_loop(settings, main)
    assert (len(error.job_ids), error.job_id) == (2, error.job_ids[0])
    assert states(client, error.job_ids) == ["waiting"] * 2
