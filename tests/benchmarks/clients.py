"""Measure the clients: how fast they submit, and what waiting for answers costs an event loop.

Run `make bench-clients`. All is compared side by side in one run on one Redis:
submits with Celery's `apply_async`, one at a time and many at once; ten maps and a thousand waiters
of `AsyncClient` with the blocking client on threads, by how late a task is that wakes every 5 ms.
Another process plays the workers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("src", "deploy", "tests/support", "tests/benchmarks")]

from figures import add_figures  # noqa: E402 - the program beside this one

from forebay.producers.async_client import AsyncClient  # noqa: E402
from forebay.producers.client import Client  # noqa: E402
from forebay.routing.errors import ForebayError  # noqa: E402
from forebay.routing.jobs import Summarize  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the line above
from working import settle  # noqa: E402

TEXT = "My parcel came wet and torn, and nobody has answered for two weeks."
MAPS, JOBS_PER_MAP, WAITERS = 10, 100, 1_000
TICK_S = 0.005


def main() -> None:
    """Print a table of submits and a table of event loops."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=20_000, help="that are submitted in a run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a file to add the figures to")
    parser.add_argument("--work-on", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work_on:
        work(options.work_on)
        return
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis()
        load = os.getloadavg()[0]
        print(f"medians of {options.runs} runs, {os.cpu_count()} cores, load {load:.1f}")
        rates = submits(fleet.url, options.jobs, options.runs)
        with working(fleet.url):
            lags = asyncio.run(loops(fleet.url, options.runs))
    add_figures(options.json, "clients", {"submits": rates, "loops": lags})


# --- submits -------------------------------------------------------------------------------------


def submits(url: str, jobs: int, runs: int) -> dict[str, dict[str, float]]:
    """Print and return how many jobs each way submits in a second, beside Celery's."""
    figures: dict[str, dict[str, float]] = {}
    server = redis.Redis.from_url(url)
    with Client(settings=Settings(redis_url=url)) as client:
        pairs = [
            ("one at a time", jobs // 10, celery_one_by_one(url), one_by_one(client)),
            ("many at once", jobs, celery_batches(url), all_at_once(client)),
        ]
        print(f"\n{'jobs/s':18} {'Celery':>8} {'Forebay':>8} {'ratio':>6} {'CPU us/job':>11}")
        for name, count, theirs, ours in pairs:
            rates: list[tuple[float, float, float]] = []
            for _ in range(runs):
                server.flushdb()
                their_rate, _ = _rate(theirs, count)
                server.flushdb()
                rates.append((their_rate, *_rate(ours, count)))
            celery, forebay, cpu = (
                statistics.median(column) for column in zip(*rates, strict=True)
            )
            server.flushdb()  # the workers to come have nothing to do yet
            print(f"{name:18} {celery:8.0f} {forebay:8.0f} {forebay / celery:6.2f} {cpu:11.0f}")
            figures[name] = {"celery": celery, "forebay": forebay, "cpu_us": cpu}
    return figures


def celery_one_by_one(url: str) -> Callable[[int], None]:
    """Return what publishes tasks of a bare Celery application one by one."""
    os.environ["FOREBAY_REDIS_URL"] = url
    from bare import nothing  # noqa: PLC0415 - it reads the address above

    def publish(count: int) -> None:
        for _ in range(count):
            nothing.apply_async()

    return publish


def celery_batches(url: str) -> Callable[[int], None]:
    """Return what publishes tasks in Celery's batches, its fastest way."""
    os.environ["FOREBAY_REDIS_URL"] = url
    from bare import app, nothing  # noqa: PLC0415 - it reads the address above

    def publish(count: int) -> None:
        pool = app.producer_pool.acquire(block=True)
        with pool as producer, producer.batch(max_size=500):
            for _ in range(count):
                nothing.apply_async(producer=producer)

    return publish


def one_by_one(client: Client) -> Callable[[int], None]:
    """Return what submits jobs one by one."""

    def submit(count: int) -> None:
        for _ in range(count):
            client.submit(Summarize(text=TEXT))

    return submit


def all_at_once(client: Client) -> Callable[[int], None]:
    """Return what submits jobs by `submit_all`."""

    def submit(count: int) -> None:
        for handle in client.submit_all(Summarize(text=TEXT) for _ in range(count)):
            if isinstance(handle, ForebayError):
                raise handle

    return submit


def _rate(submit: Callable[[int], None], count: int) -> tuple[float, float]:
    """Return jobs per second, and microseconds of this process' CPU per job."""
    submit(50)  # what is connected and imported once does not count
    began, cpu = time.perf_counter(), time.process_time()
    submit(count)
    return count / (time.perf_counter() - began), (time.process_time() - cpu) / count * 1e6


# --- event loops ---------------------------------------------------------------------------------


async def loops(url: str, runs: int) -> dict[str, list[float]]:
    """Print and return how late a task of an event loop is while others wait for answers on it."""
    settings = Settings(redis_url=url)
    alone: list[float] = []
    ours: list[float] = []
    threads: list[float] = []
    jobs_per_s: dict[str, list[float]] = {"ours": [], "threads": []}
    async with AsyncClient(settings=settings) as client:
        with Client(settings=settings) as blocking, ThreadPoolExecutor(MAPS) as pool:
            for _ in range(runs):
                async with ticking(alone):
                    await asyncio.sleep(1)
                async with ticking(ours):
                    jobs_per_s["ours"].append(await _maps(lambda: _map(client)))
                async with ticking(threads):
                    jobs_per_s["threads"].append(await _maps(lambda: _on_thread(pool, blocking)))
        waiting = await _waiters(client)
    print(f"\n{'event loop':32} {'p50 ms':>8} {'p99 ms':>8} {'most':>8} {'jobs/s':>8}")
    for name, lags, rates in (
        ("alone", alone, None),
        (f"beside {MAPS} maps of AsyncClient", ours, jobs_per_s["ours"]),
        (f"beside {MAPS} threads with Client", threads, jobs_per_s["threads"]),
    ):
        rate = f"{statistics.median(rates):8.0f}" if rates else ""
        cuts = statistics.quantiles(lags, n=100)
        print(f"{name:32} {cuts[49]:8.1f} {cuts[98]:8.1f} {max(lags):8.1f} {rate}")
    ratio = statistics.quantiles(ours, n=100)[98] / statistics.quantiles(threads, n=100)[98]
    print(f"p99, AsyncClient to threads: {ratio:.2f}")
    print(
        f"\n{WAITERS} waiters of AsyncClient: {waiting[0]} threads and "
        f"{waiting[1]} connections more"
    )
    return {
        name: statistics.quantiles(lags, n=100)
        for name, lags in (("alone", alone), ("maps", ours), ("threads", threads))
    }


@asynccontextmanager
async def ticking(lags: list[float]) -> AsyncIterator[None]:
    """Record in milliseconds how late a task wakes that sleeps for 5 ms again and again."""

    async def tick() -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            lags.append(1000 * (time.perf_counter() - due))

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


async def _maps(one: Callable[[], Awaitable[int]]) -> float:
    began = time.perf_counter()
    answered = sum(await asyncio.gather(*(one() for _ in range(MAPS))))
    assert answered == MAPS * JOBS_PER_MAP
    return answered / (time.perf_counter() - began)


async def _map(client: AsyncClient) -> int:
    requests = (Summarize(text=TEXT) for _ in range(JOBS_PER_MAP))
    return len([answer async for answer in client.map(requests, timeout=120)])


async def _on_thread(pool: ThreadPoolExecutor, client: Client) -> int:
    def answers() -> int:
        return len(list(client.map((Summarize(text=TEXT) for _ in range(JOBS_PER_MAP)), 120)))

    return await asyncio.get_running_loop().run_in_executor(pool, answers)


async def _waiters(client: AsyncClient) -> tuple[int, int]:
    """Return how many threads and connections there are more while many tasks wait."""
    server = (await client._here())._ledger.redis.connection_pool
    before = threading.active_count(), len(server._in_use_connections)
    handles = [await client.submit(Summarize(text="hold")) for _ in range(WAITERS)]
    waiting = [asyncio.create_task(client.result(handle)) for handle in handles]
    await asyncio.sleep(3)
    held = threading.active_count(), len(server._in_use_connections)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return held[0] - before[0], held[1] - before[1]


# --- the workers' part ---------------------------------------------------------------------------


def work(url: str) -> None:
    """Settle all jobs but those that say "hold", until this process is killed."""
    with Client(settings=Settings(redis_url=url)) as client:
        while True:
            claim = client._ledger.claim("route")
            if claim is None:
                time.sleep(0.002)
            elif claim.job().request.text != "hold":
                settle(client._ledger, claim)


@contextmanager
def working(url: str) -> Iterator[None]:
    """Have another process settle all jobs while this block runs."""
    worker = subprocess.Popen([sys.executable, __file__, "--work-on", url])
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


if __name__ == "__main__":
    main()
