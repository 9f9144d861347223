"""A process without a free file descriptor: Redis cannot be reached, and that is all."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis as redis_py

from forebay.routing.broker.app import celery_app
from forebay.routing.errors import RedisUnavailable
from forebay.routing.settings import Settings
from forebay.routing.store.connection import (
    close_on_loop,
    connect,
    connect_on_loop,
    reaching_redis,
)


@contextmanager
def no_descriptors():
    """Leave this process no file descriptor."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 2
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)


@pytest.fixture
def settings(redis_url):
    return Settings(redis_url=redis_url)


def test_a_client_says_that_redis_cannot_be_reached(settings):
    client = connect(settings, "look")
    with no_descriptors(), pytest.raises(RedisUnavailable, match="Too many open"), reaching_redis():
        client.ping()
    assert client.ping()


def test_so_does_a_client_of_asyncio(settings):
    async def ping():
        client = connect_on_loop(settings)
        try:
            with no_descriptors(), pytest.raises(RedisUnavailable), reaching_redis():
                await client.ping()
            assert await client.ping()
        finally:
            await close_on_loop(client)

    asyncio.run(ping())


def test_celery_has_lost_its_connection_and_tries_again(settings):
    with celery_app(settings).connection_for_read() as broker:
        channel = broker.default_channel
        channel.client.connection_pool.disconnect()
        channel.pool.reset()
        with no_descriptors(), pytest.raises(redis_py.ConnectionError):
            channel._size("route")
        assert channel._size("route") == 0
