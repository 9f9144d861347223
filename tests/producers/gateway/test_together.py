"""Calls that many requests make at the same time, made together."""

from __future__ import annotations

import asyncio

import pytest

from forebay.producers.gateway.together import Together
from forebay.routing.errors import Unavailable


class Upper:
    """Takes many texts, and counts its calls."""

    def __init__(self):
        self.calls = []
        self.open = asyncio.Event()

    async def __call__(self, items):
        self.calls.append(list(items))
        await self.open.wait()
        if "away" in items:
            raise Unavailable("Redis is away")
        return [ValueError(item) if item == "bad" else item.upper() for item in items]


def test_items_gather_while_a_call_is_under_way():
    async def run():
        upper = Upper()
        together = Together(upper, most=3)
        asked = [asyncio.ensure_future(together(text)) for text in "abcdef"]
        await asyncio.sleep(0)
        upper.open.set()
        return await asyncio.gather(*asked), upper.calls

    replies, calls = asyncio.run(run())
    assert replies == list("ABCDEF")
    assert calls == [["a", "b", "c"], ["d", "e", "f"]]


def test_each_item_has_its_own_error():
    async def run():
        upper = Upper()
        upper.open.set()
        together = Together(upper, most=10)
        good = await asyncio.gather(*map(together, ["a", "bad"]), return_exceptions=True)
        away = await asyncio.gather(*map(together, ["away", "b"]), return_exceptions=True)
        return good, away, await together("later")

    (first, bad), (one, two), later = asyncio.run(run())
    assert (first, later) == ("A", "LATER")
    assert isinstance(bad, ValueError)
    assert isinstance(one, Unavailable)
    assert one is not two
    assert (one.message, two.message, two.code) == ("Redis is away", "Redis is away", one.code)


def test_a_reply_that_nobody_waits_for_is_passed_on():
    unwanted = []

    async def run():
        upper = Upper()
        together = Together(upper, 10, lambda item, reply: unwanted.append((item, reply)))
        asked = asyncio.ensure_future(together("a"))
        await asyncio.sleep(0.01)
        asked.cancel()
        upper.open.set()
        with pytest.raises(asyncio.CancelledError):
            await asked
        return await together("b")

    assert asyncio.run(run()) == "B"
    assert unwanted == [("a", "A")]
