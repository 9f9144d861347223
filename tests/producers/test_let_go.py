"""Nothing stays of an answer once its caller has let go of it.

Python's collector may look only after many thousands of jobs, so an answer that refers to itself
would stay with its content until then.
"""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from working import ask, working

PATIENCE_S = 30.0
TEXTS = [f"text {number}" for number in range(5)]


@pytest.fixture
def without_collector():
    gc.disable()
    yield
    gc.enable()


def run(client):
    yield from (client.run(ask(text), timeout=PATIENCE_S) for text in TEXTS)


def mapped(client):
    yield from client.map(map(ask, TEXTS), timeout=PATIENCE_S)


def as_completed(client):
    yield from (one.answer for one in client.as_completed(map(ask, TEXTS), timeout=PATIENCE_S))


def submitted(client):
    yield from (client.result(client.submit(ask(text)), timeout=PATIENCE_S) for text in TEXTS)


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("way", [run, mapped, as_completed, submitted])
def test_a_client_keeps_no_answer(client, settings, way):
    with working(client._ledger), Client(tenant="acme", settings=settings) as asking:
        kept = [weakref.ref(answer) for answer in way(asking)]
    assert len(kept) == len(TEXTS)
    assert [each() for each in kept if each() is not None] == []


async def run_async(client):
    for text in TEXTS:
        yield await client.run(ask(text), timeout=PATIENCE_S)


async def mapped_async(client):
    async for answer in client.map(map(ask, TEXTS), timeout=PATIENCE_S):
        yield answer


async def as_completed_async(client):
    async for one in client.as_completed(map(ask, TEXTS), timeout=PATIENCE_S):
        yield one.answer


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("way", [run_async, mapped_async, as_completed_async])
def test_nor_does_the_client_for_asyncio(client, settings, way):
    async def ask_all():
        async with AsyncClient(tenant="acme", settings=settings) as asking:
            return [weakref.ref(answer) async for answer in way(asking)]

    with working(client._ledger):
        kept = asyncio.run(ask_all())
    assert len(kept) == len(TEXTS)
    assert [each() for each in kept if each() is not None] == []
