"""Kept connections of an event loop: many commands share one, and a lost one loses no command."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import redis as redis_py
from redis import asyncio as async_redis
from redis.exceptions import NoScriptError

from forebay.routing.store.event_loop import run_blocking
from forebay.routing.store.on_loop.loop_line import LoopLine
from loop_client import on_loop


@asynccontextmanager
async def line_of(redis_url, **options):
    async with async_redis.Redis.from_url(redis_url, **options) as client:
        line = LoopLine(client)
        await line.open()
        yield line
        await line.close()


def connections(redis):
    return redis.info("stats")["total_connections_received"]


def until_blocked(redis, count):
    """Return once so many clients wait for something."""
    while redis.info("clients")["blocked_clients"] < count:
        time.sleep(0.01)


def kill_others(redis):
    """End all connections but the one of this client."""
    redis.client_kill_filter(_type="normal", skipme=True)


def test_each_command_gets_its_own_reply_and_all_share_one_connection(redis, redis_url):
    async def main():
        async with on_loop(redis_url) as client:
            gets = [run_blocking(client.get, str(number)) for number in range(300)]
            return await asyncio.gather(*gets)

    redis.mset({str(number): f"value {number}" for number in range(300)})
    before = connections(redis)
    assert asyncio.run(main()) == [f"value {number}".encode() for number in range(300)]
    assert connections(redis) - before == 1


def test_an_error_is_that_of_its_command_alone(redis, redis_url):
    async def main():
        async with line_of(redis_url) as line:
            commands = [("GET", "a"), ("EVALSHA", "0" * 40, 0), ("GET", "a")]
            calls = [line.execute(*command) for command in commands]
            return await asyncio.gather(*calls, return_exceptions=True)

    redis.set("a", 1)
    first, second, third = asyncio.run(main())
    assert (first, third) == (b"1", b"1")
    assert isinstance(second, NoScriptError)


def test_a_command_whose_task_was_cancelled_takes_no_other_commands_reply(redis, redis_url):
    async def main():
        async with line_of(redis_url) as line:
            waiting = asyncio.create_task(line.execute("BLPOP", "list", 0))
            following = asyncio.create_task(line.execute("GET", "a"))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.to_thread(redis.rpush, "list", "late")
            return await following, waiting.cancelled()

    redis.set("a", 1)
    assert asyncio.run(main()) == (b"1", True)


def test_a_command_that_lost_its_connection_runs_over_another(redis, redis_url):
    async def main():
        async with on_loop(redis_url) as client:
            await run_blocking(client.get, "a")
            kill_others(redis)
            return await asyncio.gather(*(run_blocking(client.get, "a") for _ in range(20)))

    redis.set("a", 1)
    assert asyncio.run(main()) == [b"1"] * 20


def test_a_wait_that_lost_its_connection_begins_again_and_hears_of_the_entry(redis, redis_url):
    async def main():
        async with on_loop(redis_url) as client:
            read = asyncio.create_task(run_blocking(client.xread, {"stream": "0"}, block=4000))
            await asyncio.to_thread(until_blocked, redis, 1)
            kill_others(redis)
            await asyncio.to_thread(until_blocked, redis, 1)
            redis.xadd("stream", {"id": "x"})
            return await read

    ((name, entries),) = asyncio.run(main())
    assert (name, entries[0][1]) == (b"stream", {b"id": b"x"})


def test_two_waits_at_once_do_not_wait_for_each_other(redis, redis_url):
    async def main():
        async with on_loop(redis_url) as client:
            first = asyncio.create_task(run_blocking(client.xread, {"a": "0"}, block=4000))
            second = asyncio.create_task(run_blocking(client.xread, {"b": "0"}, block=4000))
            await asyncio.to_thread(until_blocked, redis, 2)
            redis.xadd("b", {"id": "x"})
            await second
            ended = first.done()
            redis.xadd("a", {"id": "x"})
            await first
            return ended

    assert asyncio.run(main()) is False


def test_no_reply_in_time_is_an_error_and_the_next_command_has_a_new_connection(redis, redis_url):
    async def main():
        async with line_of(redis_url, socket_timeout=0.2) as line:
            with pytest.raises(redis_py.TimeoutError):
                await line.execute("BLPOP", "list", 0)
            with pytest.raises(redis_py.ConnectionError):
                await line.execute("GET", "a")
            await line.open()
            return await line.execute("GET", "a")

    redis.set("a", 1)
    assert asyncio.run(main()) == b"1"


def test_commands_behind_one_that_has_no_reply_in_time_may_be_tried_elsewhere(redis, redis_url):
    async def main():
        async with line_of(redis_url, socket_timeout=0.3) as line:
            first = asyncio.create_task(line.execute("BLPOP", "list", 0))
            await asyncio.sleep(0.1)
            second = line.execute("GET", "a")
            return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asyncio.run(main())
    assert isinstance(first, redis_py.TimeoutError)
    assert isinstance(second, redis_py.ConnectionError)


def test_a_primary_that_became_a_replica_ends_the_connection(redis, redis_url):
    async def main():
        async with on_loop(redis_url) as client:
            await run_blocking(client.get, "a")
            before = connections(redis)
            redis.replicaof("127.0.0.1", 1)  # of nobody who answers: it refuses to write
            with pytest.raises(redis_py.ReadOnlyError):
                await run_blocking(client.evalsha, sha, 1, "a")
            redis.replicaof("NO", "ONE")
            return await run_blocking(client.evalsha, sha, 1, "a"), connections(redis) - before

    sha = redis.script_load("return redis.call('INCR', KEYS[1])")
    value, opened = asyncio.run(main())
    assert value == 1
    assert opened == 2  # of the pool, which tried again, and of the next command


class Wire:
    """A proxy of Redis; what is sent over a connection that was cut is lost without a word."""

    def __init__(self, redis_url):
        self._port = int(urlsplit(redis_url).port)
        self._writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        self.cut()

    def cut(self):
        """End the connections to Redis, and keep those to the client open."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader, writer):
        there, to_redis = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(to_redis)
        back = asyncio.create_task(_pump(there, writer))
        await _pump(reader, to_redis)
        back.cancel()
        writer.close()


async def _pump(reader, writer):
    while data := await reader.read(65536):
        if not writer.is_closing():
            writer.write(data)


def test_a_connection_that_died_while_nobody_used_it_is_opened_anew(redis, redis_url):
    async def main():
        options = {"socket_timeout": 0.5, "health_check_interval": 0.1}
        async with Wire(redis_url) as wire, line_of(wire.url, **options) as line:
            await line.execute("GET", "a")
            wire.cut()
            await asyncio.sleep(0.2)
            await line.open()
            return await line.execute("GET", "a")

    redis.set("a", 1)
    before = connections(redis)
    assert asyncio.run(main()) == b"1"
    assert connections(redis) - before == 2
