"""The client for asyncio does what the client does, by the same names."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Summarize, Summary
from forebay.routing.settings import Settings
from working import ask, settle, working

PUBLIC = sorted(
    name
    for name, member in vars(Client).items()
    if not name.startswith("_") and inspect.isfunction(member)
)


@pytest.fixture
def settings(redis, redis_url):
    return Settings(redis_url=redis_url)


@pytest.fixture
def run(settings):
    """Run a coroutine function with a client and its ledger."""

    def run(main):
        async def with_client():
            async with AsyncClient(tenant="acme", settings=settings) as client:
                return await main(client, client._client._ledger)

        return asyncio.run(with_client())

    return run


def parameters(function):
    return [
        (one.name, one.kind, one.default, one.annotation)
        for one in inspect.signature(function).parameters.values()
    ]


def test_there_are_methods_to_compare():
    assert {"submit", "result", "run", "map", "submit_future", "dead_content"} <= set(PUBLIC)


@pytest.mark.parametrize("name", [*PUBLIC, "__init__"])
def test_it_has_every_method_of_the_client_with_the_same_signature(name):
    assert parameters(getattr(AsyncClient, name)) == parameters(getattr(Client, name))


def test_it_has_no_method_that_the_client_lacks():
    public = {name for name in vars(AsyncClient) if not name.startswith("_")}
    assert public == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_method_that_may_wait_is_awaited(name):
    method = getattr(AsyncClient, name)
    if name == "job":
        assert not inspect.iscoroutinefunction(method)
    elif name == "map":
        assert inspect.isasyncgenfunction(method)
    else:
        assert inspect.iscoroutinefunction(method)


def test_it_does_the_same(run):
    async def main(client, ledger):
        with working(ledger):
            one = await client.run(ask(), timeout=10)
            job_id = await client.submit(ask("two"))
            two, three = await asyncio.gather(
                client.result(job_id, timeout=10), client.run(ask("three"), timeout=10)
            )
            many = [answer async for answer in client.map([ask("a"), ask("bad")], timeout=10)]
        waiting = await client.submit(ask())
        assert (await client.status(waiting)).state == "waiting"
        with pytest.raises(TimeoutError, match=waiting):
            await client.result(waiting, timeout=0.05)
        assert await client.cancel(waiting)
        assert await client.forget(waiting)
        return [one.content.text, two.content.text, three.content.text], many

    texts, many = run(main)
    assert texts == ["HELLO", "TWO", "THREE"]
    assert many[0].content.text == "A"
    assert isinstance(many[1], BadAnswer)


def test_its_futures_are_asyncios(run):
    async def main(client, ledger):
        job_id, first = await client.submit_with_future(ask("one"))
        second = await client.submit_future(ask("two"))
        third = await client.future(job_id)
        with working(ledger):
            return await asyncio.gather(first, second, third)

    assert [answer.content.text for answer in run(main)] == ["ONE", "TWO", "ONE"]


def test_its_dead_letters_are_the_clients(run):
    async def main(client, ledger):
        job_id = await client.submit(ask("bad"))
        settle(ledger, ledger.claim("route"))
        assert [letter.id for letter in await client.dead()] == [job_id]
        assert (await client.dead_job(job_id)).error == "bad_answer"
        assert (await client.dead_content(job_id)).request == ask("bad")
        assert await client.replay(job_id) != job_id
        assert await client.bury(job_id)

    run(main)


def test_job_makes_a_job_without_waiting(run):
    async def main(client, _):
        job = client.job(ask(), egress="allow")
        assert (job.tenant, job.egress, job.request) == ("acme", "allow", ask())
        assert client.job(job) is job

    run(main)


def test_a_wait_that_is_given_up_is_forgotten(run):
    async def main(client, ledger):
        job_id = await client.submit(ask())
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await client.result(job_id, timeout=0.01)
        waiting = asyncio.create_task(client.result(job_id))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert client._client._wakeups._expected == {}
        settle(ledger, ledger.claim("route"))
        assert (await client.result(job_id, timeout=5)).content == Summary(text="HELLO")

    run(main)


def test_a_client_leaves_the_connection_that_it_was_lent_alone(redis, settings):
    async def main():
        async with AsyncClient(tenant="acme", settings=settings, redis=redis) as client:
            await client.submit(Summarize(text="x"))

    asyncio.run(main())
    assert redis.ping()
