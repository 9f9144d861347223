"""Blocking code on an event loop: it waits, is cancelled and ends as a coroutine would."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from redis.exceptions import NoScriptError

from forebay.routing.store.event_loop import (
    Background,
    Mailbox,
    awaitable,
    blocking_items,
    each,
    on_event_loop,
    outcome,
    pause,
    run_blocking,
    wait_for,
)
from forebay.routing.store.on_loop.loop_redis import MAX_CONNECTIONS
from loop_client import on_loop


async def later(value, error=None):
    await asyncio.sleep(0.001)
    if error:
        raise error
    return value


def test_blocking_code_waits_on_the_loop_and_other_tasks_go_on():
    async def main():
        def blocking(name):
            assert on_event_loop()
            for _ in range(3):
                found = wait_for(later(name))
                seen.append(found)
            return name

        return await asyncio.gather(*(run_blocking(blocking, name) for name in "ab"))

    seen = []
    assert asyncio.run(main()) == ["a", "b"]
    assert seen == ["a", "b"] * 3
    assert not on_event_loop()


def test_errors_go_both_ways():
    def blocking():
        with pytest.raises(KeyError):
            wait_for(later(None, KeyError()))
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        asyncio.run(run_blocking(blocking))


def test_a_cancellation_runs_what_cleans_up_and_may_wait_there():
    cleaned = []

    def blocking():
        try:
            pause(30)
        finally:
            cleaned.append(wait_for(later("cleaned")))

    async def main():
        task = asyncio.create_task(run_blocking(blocking))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert cleaned == ["cleaned"]


def test_a_cancellation_that_a_library_swallowed_is_raised_all_the_same():
    async def swallowing():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "as if nothing was"

    async def main():
        task = asyncio.create_task(run_blocking(lambda: wait_for(swallowing())))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_a_timeout_around_blocking_code_ends_it():
    async def main():
        async with asyncio.timeout(0.01):
            await run_blocking(pause, 30)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_context_variables_are_the_tasks():
    name = contextvars.ContextVar("name")

    def blocking():
        before = name.get()
        name.set(wait_for(later("set inside")))
        return before

    async def main():
        name.set("set outside")
        return await run_blocking(blocking), name.get()

    assert asyncio.run(main()) == ("set outside", "set inside")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 has no eager tasks")
def test_an_eager_task_may_begin_in_blocking_code():
    def blocking():
        inner = asyncio.get_running_loop().create_task(run_blocking(pause, 0.01))
        pause(0.02)
        return inner.done()

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        return await run_blocking(blocking)

    assert asyncio.run(main())


def test_the_outcome_of_a_future_is_waited_for_on_a_thread_and_on_the_loop():
    def both():
        with ThreadPoolExecutor(1) as pool:
            done = outcome(pool.submit(time.sleep, 0.01))
            never: Future[None] = Future()
            with pytest.raises(TimeoutError):
                outcome(never, 0.01)
            return done, never.cancelled()

    assert both() == (None, True)
    assert asyncio.run(run_blocking(both)) == (None, True)


def test_a_future_that_ends_on_the_loop_wakes_who_awaits_it_without_a_system_call(
    monkeypatch,
):
    async def main():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_soon_threadsafe", None)
        ended, fails, is_cancelled, awaited_no_more = futures = [Future() for _ in range(4)]
        awaited = [awaitable(future) for future in futures]
        ended.set_result(1)
        fails.set_exception(KeyError("mine"))
        is_cancelled.cancel()
        awaited[3].cancel()
        replies = await asyncio.gather(*awaited, return_exceptions=True)
        monkeypatch.undo()
        return replies, awaited_no_more.cancelled()

    (value, error, *cancelled), both = asyncio.run(main())
    assert (value, repr(error), both) == (1, "KeyError('mine')", True)
    assert [type(one) for one in cancelled] == [asyncio.CancelledError] * 2


def test_a_future_that_ends_on_a_thread_wakes_who_awaits_it():
    async def main():
        with ThreadPoolExecutor(1) as pool:
            return await awaitable(pool.submit(lambda: time.sleep(0.01) or threading.get_ident()))

    assert asyncio.run(main()) != threading.get_ident()


def test_a_mailbox_gives_each_thing_once_and_in_order():
    def take():
        mailbox: Mailbox[int] = Mailbox()
        with pytest.raises(TimeoutError):
            mailbox.get(0.01)
        thread = threading.Thread(target=lambda: [mailbox.put(n) for n in range(500)])
        thread.start()
        taken = [mailbox.get(10) for _ in range(500)]
        thread.join()
        return taken

    assert take() == list(range(500))
    assert asyncio.run(run_blocking(take)) == list(range(500))


def test_a_background_function_is_a_thread_or_a_task_and_can_be_stopped():
    def use():
        stopped = threading.Event()

        def work():
            while not stopped.is_set():
                pause(30, unless=stopped)

        background = Background(work, "work")
        pause(0.01)
        alive = background.is_alive()
        background.stop(stopped.set, timeout=5)
        return alive, background.is_alive(), threading.active_count()

    threads = threading.active_count()
    assert use() == (True, False, threads)
    assert asyncio.run(run_blocking(use)) == (True, False, threads)


def test_items_pass_from_async_iterables_and_to_them():
    closed = []

    async def numbers():
        for number in range(50):
            yield await later(number)

    def doubled(items):
        try:
            for item in items:
                yield 2 * item
        finally:
            closed.append(wait_for(later("closed")))

    async def main():
        whole = [item async for item in each(doubled(blocking_items(numbers())))]
        part = each(doubled(blocking_items(numbers())))
        first = await anext(part)
        await part.aclose()
        return whole, first

    assert asyncio.run(main()) == ([2 * number for number in range(50)], 0)
    assert closed == ["closed", "closed"]


# --- Redis ---------------------------------------------------------------------------------------


def with_redis(redis_url, blocking):
    async def main():
        async with on_loop(redis_url) as client:
            return await run_blocking(blocking, client)

    return asyncio.run(main())


def test_commands_and_pipelines_run_as_those_of_a_blocking_client(redis, redis_url):
    def use(client):
        client.set("a", 1)
        with client.pipeline(transaction=False) as pipe:
            pipe.get("a")
            pipe.hgetall("nothing")
            pipe.evalsha("0" * 40, 0)
            first, second, third = pipe.execute(raise_on_error=False)
        assert isinstance(third, NoScriptError)
        client.xadd("stream", {"id": "x"})
        ((name, entries),) = client.xread({"stream": "0"}, count=1, block=1000)
        return first, second, client.get("a"), name, len(entries), client.script_exists("a")

    expected = use(redis)
    redis.flushall()
    assert with_redis(redis_url, use) == expected


def test_no_more_connections_are_opened_than_the_limit(redis, redis_url):
    async def main():
        async with on_loop(redis_url) as client:
            calls = [run_blocking(client.hget, "a", "b") for _ in range(300)]
            return len(await asyncio.gather(*calls))

    before = redis.info("stats")["total_connections_received"]
    assert asyncio.run(main()) == 300
    assert redis.info("stats")["total_connections_received"] - before <= MAX_CONNECTIONS
