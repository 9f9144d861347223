"""The client for asyncio does what the client does, by the same names."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import re
import threading

import pytest
import redis.asyncio

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.errors import BadAnswer, Unavailable
from forebay.routing.jobs import Summarize, Summary
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.store.connection import connect
from working import ask, settle, until_waiting, working

PUBLIC = sorted(
    name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")
)


@pytest.fixture
def run(settings):
    """Run a coroutine function with a client and its ledger."""

    def run(main):
        async def with_client():
            async with AsyncClient(tenant="acme", settings=settings) as client:
                return await main(client, ledger)

        with connect(settings) as redis:
            ledger = Ledger(redis, settings, packaged_template)
            return asyncio.run(with_client())

    return run


#: What asyncio's form takes beside what the blocking form takes.
ASYNC_ITEMS = re.compile(r"(Iterable\[.*\]) \| Async\1")


def parameters(function):
    return [
        (
            one.name,
            one.kind,
            one.default,
            ASYNC_ITEMS.sub(r"\1", one.annotation)
            .replace("redis.asyncio.", "redis.")
            .replace("AsyncRowsLike", "RowsLike"),
        )
        for one in list(inspect.signature(function).parameters.values())[1:]
    ]


def test_there_are_methods_to_compare():
    assert {"submit", "result", "run", "map", "as_completed", "status", "replay"} <= set(PUBLIC)


@pytest.mark.parametrize("name", [*PUBLIC, "__init__"])
def test_it_has_every_method_of_the_client_with_the_same_signature(name):
    assert parameters(getattr(AsyncClient, name)) == parameters(getattr(Client, name))


def test_it_has_no_method_that_the_client_lacks():
    public = {name for name in dir(AsyncClient) if not name.startswith("_")}
    assert public == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_method_that_may_wait_is_awaited(name):
    method = getattr(AsyncClient, name)
    if name == "job":
        assert not inspect.iscoroutinefunction(method)
    elif name in {"map", "as_completed", "submit_all"}:
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
        assert (await client._here())._wakeups._expected == {}
        settle(ledger, ledger.claim("route"))
        assert (await client.result(job_id, timeout=5)).content == Summary(text="HELLO")

    run(main)


def test_a_client_leaves_the_connection_that_it_was_lent_alone(settings):
    async def main():
        async with redis.asyncio.Redis.from_url(settings.redis_url) as lent:
            async with AsyncClient(tenant="acme", settings=settings, redis=lent) as client:
                await client.submit(Summarize(text="x"))
            return await lent.ping()

    assert asyncio.run(main())


def test_a_client_works_on_one_loop_after_the_other_and_on_two_at_once(settings, run):
    client = AsyncClient(tenant="acme", settings=settings)

    async def ask_and_close_later(text):
        answer = await client.run(ask(text), timeout=20)
        return answer.content.text

    async def main(_, ledger):
        with working(ledger):
            texts = [await asyncio.to_thread(asyncio.run, ask_and_close_later(t)) for t in "ab"]
            both = [asyncio.to_thread(asyncio.run, ask_and_close_later(t)) for t in "cd"]
            return texts + await asyncio.gather(*both)

    assert run(main) == ["A", "B", "C", "D"]
    gc.collect()  # no connection was left open when its loop ended: that would be a warning


def test_a_closed_client_raises_the_same_error_everywhere(settings):
    async def main():
        client = AsyncClient(tenant="acme", settings=settings)
        waiting = await client.submit_future(ask())
        await client.close()
        await client.close()
        with pytest.raises(Unavailable, match="the client is closed"):
            await waiting
        for call in (client.submit(ask()), client.status("acme." + "0" * 32), client.dead()):
            with pytest.raises(Unavailable, match="the client is closed"):
                await call
        with pytest.raises(Unavailable, match="the client is closed"):
            await anext(client.map([ask()]))

    asyncio.run(main())


def test_callers_wake_after_their_connections_were_cut(run, redis):
    async def main(client, ledger):
        waiting = [asyncio.create_task(client.run(ask(str(i)), timeout=30)) for i in range(5)]
        await until_waiting(ledger, 5)
        ledger.redis.client_kill_filter(skipme=True, _type="normal")
        ledger.redis.delete((await client._here())._wakeups.stream)
        for _ in range(5):
            settle(ledger, ledger.claim("route"))
        return [answer.content.text for answer in await asyncio.gather(*waiting)]

    assert run(main) == ["0", "1", "2", "3", "4"]


def test_a_thousand_waiters_take_no_thread_and_few_connections(run):
    async def main(client, ledger):
        waiting = [asyncio.create_task(client.run(ask(f"t{i}"))) for i in range(1000)]
        await until_waiting(ledger, 1000)
        threads, clients = threading.enumerate(), ledger.redis.info("clients")
        with working(ledger):
            answers = await asyncio.gather(*waiting)
        return threads, clients["connected_clients"], [a.content.text for a in answers]

    before = set(threading.enumerate())  # of other tests, such as one that keeps time limits
    threads, connections, texts = run(main)
    assert set(threads) <= before
    assert connections < 40
    assert texts == [f"T{i}" for i in range(1000)]


def test_a_context_variable_reaches_the_requests_of_a_map(run):
    name = contextvars.ContextVar("name", default="nobody")

    async def requests():
        for _ in range(2):
            await asyncio.sleep(0.001)
            yield ask(name.get())

    async def main(client, ledger):
        name.set("somebody")
        with working(ledger):
            return [a.content.text async for a in client.map(requests(), timeout=20)]

    assert run(main) == ["SOMEBODY", "SOMEBODY"]
