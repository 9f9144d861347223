"""A client for blocking code on an event loop, over a real Redis."""

from contextlib import asynccontextmanager

import redis.asyncio

from forebay.routing.store.on_loop.loop_redis import LoopRedis


@asynccontextmanager
async def on_loop(redis_url, **options):
    async with redis.asyncio.Redis.from_url(redis_url, **options) as client:
        blocking = LoopRedis(client)
        yield blocking
        await blocking.close_lines()
