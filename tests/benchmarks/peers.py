"""The same task that does nothing on other queues: `python peers.py QUEUE submit|work [JOBS]`.

It runs in an environment of its own, which `make peers` makes. A worker has 32
threads or coroutines in one process, as bare Celery and Forebay's local worker have; rq works one
job at a time, with its `SimpleWorker`, which does not fork.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta

import redis

URL = os.environ["FOREBAY_REDIS_URL"]
AT_ONCE = 32
done = redis.Redis.from_url(URL)


def nothing() -> None:
    """Count the task."""
    done.incr("done")


# --- rq -------------------------------------------------------------------------------------------


def rq_submit(jobs: int) -> None:
    """Submit by `enqueue_many`, 500 jobs a round trip."""
    from rq import Queue

    queue = Queue(connection=done)
    for start in range(0, jobs, 500):
        several = range(start, min(jobs, start + 500))
        queue.enqueue_many([Queue.prepare_data(nothing, result_ttl=0) for _ in several])


def rq_work() -> None:
    """Work without a fork for each job."""
    from rq import Queue, SimpleWorker

    SimpleWorker([Queue(connection=done)], connection=done).work(logging_level="WARNING")


# --- huey -----------------------------------------------------------------------------------------


def _huey():
    from huey import RedisHuey

    huey = RedisHuey("peers", url=URL, results=False)
    return huey, huey.task()(nothing)


def huey_submit(jobs: int) -> None:
    """Submit one at a time; huey has no other way."""
    _, task = _huey()
    for _ in range(jobs):
        task()


def huey_work() -> None:
    """Work with threads."""
    huey, _ = _huey()
    huey.create_consumer(workers=AT_ONCE, worker_type="thread", periodic=False).run()


# --- dramatiq -------------------------------------------------------------------------------------


def _dramatiq():
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=URL)
    dramatiq.set_broker(broker)
    return broker, dramatiq.actor(nothing)


def dramatiq_submit(jobs: int) -> None:
    """Submit one at a time; dramatiq has no other way."""
    _, actor = _dramatiq()
    for _ in range(jobs):
        actor.send()


def dramatiq_work() -> None:
    """Work with threads."""
    import dramatiq

    broker, _ = _dramatiq()
    dramatiq.Worker(broker, worker_threads=AT_ONCE).start()
    while True:
        time.sleep(60)


# --- arq ------------------------------------------------------------------------------------------


async def arq_nothing(_context: object) -> None:
    """Count the task."""
    await _done.incr("done")


_done = redis.asyncio.Redis.from_url(URL)


def arq_submit(jobs: int) -> None:
    """Submit one at a time; arq has no other way."""
    from arq import create_pool
    from arq.connections import RedisSettings

    async def submit() -> None:
        pool = await create_pool(RedisSettings.from_dsn(URL))
        for _ in range(jobs):
            await pool.enqueue_job("arq_nothing")

    asyncio.run(submit())


def arq_work() -> None:
    """Work with coroutines."""
    from arq.connections import RedisSettings
    from arq.worker import Worker

    settings = RedisSettings.from_dsn(URL)
    asyncio.set_event_loop(asyncio.new_event_loop())
    Worker([arq_nothing], redis_settings=settings, max_jobs=AT_ONCE, keep_result=0).run()


# --- taskiq ---------------------------------------------------------------------------------------


def _taskiq():
    from taskiq_redis import ListQueueBroker

    broker = ListQueueBroker(URL)

    @broker.task(task_name="nothing")
    async def task() -> None:
        await _done.incr("done")

    return broker, task


def taskiq_submit(jobs: int) -> None:
    """Submit one at a time; taskiq has no other way."""

    async def submit() -> None:
        broker, task = _taskiq()
        await broker.startup()
        for _ in range(jobs):
            await task.kiq()

    asyncio.run(submit())


def taskiq_work() -> None:
    """Work with coroutines."""
    from taskiq.api import run_receiver_task

    async def work() -> None:
        await run_receiver_task(_taskiq()[0], max_async_tasks=AT_ONCE, run_startup=True)

    asyncio.run(work())


# --- docket ---------------------------------------------------------------------------------------


async def docket_nothing() -> None:
    """Count the task."""
    await _done.incr("done")


def _docket():
    from docket import Docket

    return Docket(name="peers", url=URL, execution_ttl=timedelta(0))


def docket_submit(jobs: int) -> None:
    """Submit one at a time; docket has no other way."""
    import peers  # a task is found by its function

    async def submit() -> None:
        async with _docket() as docket:
            for _ in range(jobs):
                await docket.add(peers.docket_nothing)()

    asyncio.run(submit())


def docket_work() -> None:
    """Work with coroutines."""
    import peers
    from docket import Worker

    async def work() -> None:
        async with _docket() as docket, Worker(docket, concurrency=AT_ONCE) as worker:
            docket.register(peers.docket_nothing)
            await worker.run_forever()

    asyncio.run(work())


if __name__ == "__main__":
    queue, verb, *jobs = sys.argv[1:]
    # A task is found by the name of its module, which must be the same for producer and worker.
    import peers

    getattr(peers, f"{queue}_{verb}")(*map(int, jobs))
