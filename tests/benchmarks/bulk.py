"""Measure a bulk beside the same rows as jobs of their own, and as bare Celery tasks.

Run `make bench-bulk`, or `python tests/benchmarks/bulk.py --rows 1000000`. All run in one run on
one Redis with the echo engine: a row costs a prompt, a round trip to the engine's process, its
checks and its result in a file, which holds each row once. It prints rows per second, CPU time
(that of a no-op is without its producer) and their ratios; what a queued row takes in Redis; and
the memory of client and workers over time. Then the echo engine takes 20 ms a word, as a card
would: how long does an interactive job take beside a running bulk, and alone?
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]
sys.path.insert(0, str(Path(__file__).parent))

from figures import add_figures  # noqa: E402 - found by the line above
from overhead import bare  # noqa: E402 - likewise

from forebay.producers.client import Client  # noqa: E402
from forebay.routing.jobs import Classify  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the lines above

LABELS = ["billing", "shipping", "login"]
SLOTS = "32"
STEP_S = 0.02  # of the engine beside which interactive jobs are measured
INTERACTIVE = 60  # jobs whose waits are measured, alone and beside the bulk
MB = 1 << 20


def main() -> None:
    """Print one table for the rates, and one line for each further figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--singles", type=int, default=3_000, help="rows that are jobs or tasks")
    parser.add_argument("--json", type=Path, help="a file to add the figures to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name) / "fleet") as fleet:
        folder = Path(name)
        fleet.start_redis(maxmemory="2gb")
        celery = bare(fleet, options.singles)
        with _working(fleet) as workers, _client(fleet) as client:
            _warm(client)
            with _cpu_s(fleet, workers) as of_map:
                per_map = _mapped(client, options.singles)
            _write(folder / "rows.jsonl", options.rows)
            with _cpu_s(fleet, workers) as of_bulk:
                per_bulk, memory = _bulk(fleet, folder, options.rows, workers)
            queued = _bytes_queued(fleet, folder, workers)
        with _working(fleet, FOREBAY_ECHO_DELAY_S=str(STEP_S)), _client(fleet) as client:
            _warm(client)
            alone = _waits(client)
            beside = _beside(fleet, client, folder)
    print(f"{options.rows:,} rows in the bulk, {options.singles:,} in the others")
    print(f"{'':28} {'rows/s':>9} {'bulk is':>9} {'CPU us':>9} {'bulk is':>9}")
    no_op_us = celery.cpu_ms * 1e3 + celery.redis_us
    row_us, job_us = (
        sum(cpu.values()) / count * 1e6
        for cpu, count in ((of_bulk, options.rows), (of_map, options.singles))
    )
    others = (
        ("a Celery no-op a row", celery.drain, no_op_us),
        ("Client.map, a job a row", per_map, job_us),
    )
    for label, rate, cpu_us in others:
        faster, cheaper = per_bulk / rate, cpu_us / row_us
        print(f"{label:28} {rate:9,.0f} {faster:7.1f} x {cpu_us:9,.0f} {cheaper:7.1f} x")
    print(f"{'forebay bulk run':28} {per_bulk:9,.0f} {'':9} {row_us:9,.0f}")
    by_part = ", ".join(f"{name} {s / options.rows * 1e6:.0f}" for name, s in of_bulk.items())
    print(f"CPU us of a row by process, the start of the client included: {by_part}")
    print(f"a queued row takes {queued:.0f} bytes of Redis")
    _print_memory(memory)
    print(f"an interactive job: {_quantiles(alone)} alone, {_quantiles(beside)} beside the bulk")
    slower = (_p95(beside) - STEP_S) / _p95(alone)
    print(f"p95 beside, less one step of the batch, is {slower:.2f} x p95 alone")
    figures = {
        "rows": {"bulk": per_bulk, "map": per_map, "celery": celery.drain},
        "cpu_us": {"bulk": row_us, "map": job_us, "celery": no_op_us},
        "queued_bytes": queued,
        "most_mb": {label: max(series) / MB for label, series in memory.items()},
    }
    add_figures(options.json, "bulk", figures)


def _print_memory(memory: dict[str, list[float]]) -> None:
    for label, series in memory.items():
        tenths = [series[max(1, len(series) * part // 10)] / MB for part in range(10)]
        told = " ".join(f"{value:.0f}" for value in [*tenths, series[-1] / MB])
        print(f"{label:10} MB over time: {told}; at most {max(series) / MB:.0f}")


@contextmanager
def _working(fleet: Fleet, **env: str) -> Iterator[dict[str, psutil.Process]]:
    parts = ("router", "local", "sweeper")
    started = [
        fleet.start(part, FOREBAY_ENGINE="echo", FOREBAY_SLOTS=SLOTS, **env) for part in parts
    ]
    fleet.wait_ready()
    yield {part: psutil.Process(proc.pid) for part, proc in zip(parts, started, strict=True)}
    for proc in started:
        fleet.kill(proc)
    redis.Redis.from_url(fleet.url).flushall()


@contextmanager
def _cpu_s(fleet: Fleet, workers: dict[str, psutil.Process]) -> Iterator[dict[str, float]]:
    """Yield what gets the CPU seconds of workers, engine, clients and Redis."""
    server = psutil.Process(redis.Redis.from_url(fleet.url).info("server")["process_id"])
    engine = workers["local"].children(recursive=True)
    parts = {"Redis": [server], "engine": engine, **{name: [it] for name, it in workers.items()}}

    def spent() -> dict[str, float]:
        own = os.times()
        clients = own.user + own.system + own.children_user + own.children_system
        times = {name: [each.cpu_times() for each in part] for name, part in parts.items()}
        took = {name: sum(each.user + each.system for each in of) for name, of in times.items()}
        return {"client": clients, **took}

    cpu_s: dict[str, float] = {}
    before = spent()
    yield cpu_s
    cpu_s |= {name: seconds - before[name] for name, seconds in spent().items()}


@contextmanager
def _client(fleet: Fleet) -> Iterator[Client]:
    with Client(settings=Settings(redis_url=fleet.url), patience=60) as client:
        yield client


def _request(number: int) -> Classify:
    return Classify(text=f"my {LABELS[number % 3]} question number {number}", labels=LABELS)


def _warm(client: Client) -> None:
    for _ in client.map(map(_request, range(200))):
        pass


def _mapped(client: Client, rows: int) -> float:
    began = time.perf_counter()
    answered = sum(1 for _ in client.map(map(_request, range(rows)), priority="bulk"))
    return answered / (time.perf_counter() - began)


def _waits(client: Client) -> list[float]:
    """Return the seconds that interactive jobs take, one after the other."""
    waits = []
    for number in range(INTERACTIVE):
        began = time.perf_counter()
        client.run(_request(number), timeout=120)
        waits.append(time.perf_counter() - began)
        time.sleep(0.02)
    return waits


def _write(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number in range(rows):
            file.write(f'{{"body": "my {LABELS[number % 3]} question number {number}"}}\n')


def _command(folder: Path, out: str) -> list[str]:
    (folder / "labels.txt").write_text("\n".join(LABELS))
    return [
        sys.executable, "-m", "forebay.producers.cli.main", "bulk", "run",
        str(folder / "rows.jsonl"), "--kind", "classify", "--text-field", "body", "--labels",
        str(folder / "labels.txt"), "--out", str(folder / out),
    ]  # fmt: skip


def _bulk(
    fleet: Fleet, folder: Path, rows: int, workers: dict[str, psutil.Process]
) -> tuple[float, dict[str, list[float]]]:
    """Return rows/s, and the memory of the parts over time."""
    env = {**os.environ, "FOREBAY_REDIS_URL": fleet.url}
    began = time.perf_counter()
    process = subprocess.Popen(_command(folder, "out.jsonl"), env=env, stderr=subprocess.DEVNULL)
    parts = {"client": psutil.Process(process.pid), **workers}
    memory: dict[str, list[float]] = {name: [] for name in parts}
    while process.poll() is None:
        for name, part in parts.items():
            with _still_there():
                memory[name].append(float(part.memory_info().rss))
        time.sleep(0.2)
    took = time.perf_counter() - began
    assert process.returncode == 0, "the bulk failed"
    assert _digest(_answered(folder / "out.jsonl")) == _digest(_expected(rows))
    return rows / took, memory


def _answered(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the label of each row in an output."""
    with path.open() as file:
        for line in file:
            row = json.loads(line)
            yield row["row"], row["answer"]["label"]


def _expected(rows: int) -> Iterator[tuple[int, str]]:
    """Yield each row once, in order, with the label that its text names."""
    return ((number + 1, LABELS[number % 3]) for number in range(rows))


def _digest(rows: Iterator[tuple[int, str]]) -> str:
    sha = hashlib.sha256()
    for number, label in rows:
        sha.update(f"{number} {label}\n".encode())
    return sha.hexdigest()


def _beside(fleet: Fleet, client: Client, folder: Path) -> list[float]:
    """Return how long interactive jobs take while a bulk fills the batch."""
    env = {**os.environ, "FOREBAY_REDIS_URL": fleet.url}
    process = subprocess.Popen(_command(folder, "b.jsonl"), env=env, stderr=subprocess.DEVNULL)
    time.sleep(5)
    waits = _waits(client)
    assert process.poll() is None, "the bulk ended before: give it more rows"
    process.kill()
    process.wait()
    return waits


@contextmanager
def _still_there() -> Iterator[None]:
    """Ignore that a process has ended."""
    try:
        yield
    except psutil.Error:
        return


def _bytes_queued(fleet: Fleet, folder: Path, workers: dict[str, psutil.Process]) -> float:
    """Return what a row takes in Redis while nobody works."""
    for part in workers.values():
        part.suspend()
    client = redis.Redis.from_url(fleet.url)
    try:
        before = int(client.info("memory")["used_memory"])
        env = {**os.environ, "FOREBAY_REDIS_URL": fleet.url}
        process = subprocess.Popen(_command(folder, "q.jsonl"), env=env, stderr=subprocess.DEVNULL)
        rows = _settled_rows(client)
        queued = int(client.info("memory")["used_memory"]) - before
        process.kill()
        process.wait()
        return queued / max(1, rows)
    finally:
        for part in workers.values():
            part.resume()


def _settled_rows(client: redis.Redis) -> int:
    """Return how many rows are queued, once no more come."""
    rows, last = 0, -1
    while not rows or rows != last:
        time.sleep(4)
        last = rows
        rows = sum(int(client.hget(key, "rows") or 0) for key in client.scan_iter("fb:job:*"))
    return rows


def _p95(waits: list[float]) -> float:
    return statistics.quantiles(waits, n=20)[-1]


def _quantiles(waits: list[float]) -> str:
    return f"p50 {statistics.median(waits) * 1e3:.0f} ms, p95 {_p95(waits) * 1e3:.0f} ms"


if __name__ == "__main__":
    main()
