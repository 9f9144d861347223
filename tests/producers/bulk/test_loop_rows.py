"""Async iterables as rows: iterated over on the event loop, taken by another thread."""

import asyncio
import itertools
from unittest.mock import Mock

import pytest

from forebay.producers.bulk.async_methods import taken_from_loop
from forebay.producers.bulk.loop_rows import MAX_AHEAD, LoopRows
from forebay.routing.errors import Unavailable


async def numbers(count):
    for n in range(count):
        if n % 100 == 0:
            await asyncio.sleep(0)
        yield n


def test_all_rows_come_in_order_through_a_thread():
    async def main():
        return await asyncio.to_thread(list, LoopRows(numbers(10 * MAX_AHEAD)))

    assert asyncio.run(main()) == list(range(10 * MAX_AHEAD))


def test_the_loop_does_not_run_far_ahead_and_stops():
    async def main():
        taken = itertools.count()
        closed = asyncio.Event()

        async def rows():
            try:
                for n in taken:
                    yield n
            finally:
                closed.set()

        with taken_from_loop(rows()) as found:
            assert [await asyncio.to_thread(next, found) for _ in range(3)] == [0, 1, 2]
            await asyncio.sleep(0.05)
            assert next(taken) <= MAX_AHEAD + 4
        await asyncio.wait_for(closed.wait(), 5)
        with pytest.raises(Unavailable, match="event loop ended"):
            await asyncio.to_thread(lambda: list(found))

    asyncio.run(main())


def test_an_error_of_the_iterable_reaches_whoever_takes_the_rows():
    async def broken():
        yield 1
        raise LookupError("the source broke")

    async def main():
        found = LoopRows(broken())
        assert await asyncio.to_thread(next, found) == 1
        for _ in range(2):
            with pytest.raises(LookupError, match="broke"):
                await asyncio.to_thread(next, found)

    asyncio.run(main())


def test_whoever_takes_rows_gets_an_error_if_the_loop_is_closed_with_its_tasks(monkeypatch):
    monkeypatch.setattr("forebay.producers.bulk.loop_rows.LOOK_EVERY_S", 0.01)

    async def never():
        await asyncio.Event().wait()
        yield

    async def begin():
        return LoopRows(never())

    loop = asyncio.new_event_loop()
    found = loop.run_until_complete(begin())
    monkeypatch.setattr(found, "_loop", Mock(is_closed=lambda: True))
    with pytest.raises(Unavailable, match="event loop ended"):
        next(found)
    found._task.cancel()
    loop.run_until_complete(asyncio.gather(found._task, return_exceptions=True))
    loop.close()
