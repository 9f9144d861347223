"""`map`: its window, what happens when it ends early, and what asyncio's form leaves free."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.routing.errors import InvalidJob, ResultTimeout, Unavailable
from forebay.routing.jobs import Job
from forebay.routing.settings import Settings
from working import ask, settle, working

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(redis, redis_url):
    return Settings(redis_url=redis_url)


@pytest.fixture
def client(settings):
    with Client(tenant="acme", settings=settings) as client:
        yield client


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


def test_requests_that_fail_in_the_middle_cancel_the_jobs_before_them(client, redis):
    def requests():
        for i in range(250):
            yield ask(str(i))
        raise KeyError("the caller's own")

    with pytest.raises(KeyError):
        next(client.map(requests(), timeout=10))
    assert set(states(client, submitted_ids(redis))) == {"cancelled"}


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


async def until_waiting(ledger, jobs):
    """Wait until so many jobs wait for the router."""
    for _ in range(3000):
        if ledger.depths().get("route", 0) >= jobs:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the jobs never came")


def in_a_loop(settings, main, threads=2):
    """Run a coroutine function with a client, in a loop with a small executor."""

    async def with_client():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
        async with AsyncClient(tenant="acme", settings=settings) as client:
            return await asyncio.wait_for(main(client), 60)

    return asyncio.run(with_client())


def test_many_maps_at_once_hold_no_thread_of_the_application(settings):
    async def main(client):
        async def one(number):
            requests = [ask(f"{number} {i}") for i in range(5)]
            return [a.content.text async for a in client.map(requests, timeout=30)]

        maps = [asyncio.create_task(one(number)) for number in range(40)]
        await until_waiting(client._client._ledger, 200)
        # Every map waits now, and the application's own work still gets a thread at once.
        name = await asyncio.wait_for(asyncio.to_thread(threading.current_thread), 1)
        with working(client._client._ledger):
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
    assert [type(error) for error in errors] == [Unavailable] * 5


def test_the_window_of_asyncios_map_is_bounded_too(settings):
    taken = []

    def requests():
        for i in range(10_000):
            taken.append(i)
            yield ask(str(i))

    async def main(client):
        answers = client.map(requests(), timeout=30)
        with working(client._client._ledger):
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
        return other._client._wakeups._expected

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
