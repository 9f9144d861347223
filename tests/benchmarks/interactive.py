"""Measure how long interactive jobs take beside a saturating load, against alone.

Run `python tests/benchmarks/interactive.py`, or with `--engine llamacpp`. One local worker answers
a classify job and a generation of 32 tokens, one after the other: alone, beside more bulk
generations than it has threads, beside the rows of a bulk, and beside another tenant's interactive
generations of a thousand words. It prints p50, p95 and their ratios to alone. One step of the batch
is allowed on top: a request cannot join the batch in the middle of a step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from figures import add_figures  # noqa: E402 - the program beside this one

from forebay.producers.client import Client  # noqa: E402
from forebay.routing.jobs import Classify, Generate, Message  # noqa: E402
from forebay.routing.requests import Request  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the lines above

STEP_S = 0.02  # of the echo engine
LOADED_S = 4.0  # from the begin of a load until it fills the batch
WORDS = 1_000  # of the long answers
LABELS = ["billing", "shipping", "login"]


def main() -> None:
    """Print a table for each kind of interactive job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=["echo", "llamacpp"], default="echo")
    parser.add_argument("--jobs", type=int, default=40, help="interactive jobs of each kind")
    parser.add_argument("--load", type=int, default=200, help="bulk jobs, or rows")
    parser.add_argument("--reserved", default="0.25", help="FOREBAY_RESERVED")
    parser.add_argument("--json", type=Path, help="a file to add the figures to, in seconds")
    parser.add_argument("--loads", nargs="*", default=[], help="of the table; all by default")
    options = parser.parse_args()
    env = {
        "FOREBAY_ENGINE": options.engine,
        "FOREBAY_ECHO_DELAY_S": str(STEP_S),
        "FOREBAY_RESERVED": options.reserved,
    }
    loads: dict[str, Load] = {
        "alone": _nothing,
        "bulk jobs": _bulk_jobs,
        "rows of a bulk": _rows,
        "another tenant": _long_answers,
    }
    took: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name) / "fleet") as fleet:
        fleet.start_redis()
        for label, load in loads.items():
            if options.loads and label not in {"alone", *options.loads}:
                continue
            with _working(fleet, env), _client(fleet) as client:
                client.run(_classify(0), timeout=300)
                with load(fleet, Path(name), options.load):
                    took[label] = {
                        "classify": _times(client, _classify, options.jobs),
                        "32 tokens": _times(client, _generate, options.jobs),
                    }
    load = os.getloadavg()[0]
    print(f"{options.engine}, {options.jobs} jobs of each kind, load of the machine {load:.1f}")
    for kind in ("classify", "32 tokens"):
        _print(kind, {label: times[kind] for label, times in took.items()})
    add_figures(options.json, "interactive", took)


Load = Callable[[Fleet, Path, int], "contextmanager[None]"]  # type: ignore[type-arg]  # a factory


def _print(kind: str, rows: dict[str, list[float]]) -> None:
    alone = _p50_p95(rows["alone"])
    print(f"{kind:16} {'p50 ms':>8} {'p95 ms':>8} {'p50 ratio':>10} {'p95 ratio':>10}")
    for label, times in rows.items():
        p50, p95 = _p50_p95(times)
        ratios = f"{p50 / alone[0]:10.2f} {p95 / alone[1]:10.2f}"
        print(f"{label:16} {p50 * 1e3:8.0f} {p95 * 1e3:8.0f} {ratios}")


def _p50_p95(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def _times(client: Client, ask: Callable[[int], Request], count: int) -> list[float]:
    """Return the seconds that interactive jobs take, one after the other."""
    times = []
    for number in range(count):
        began = time.perf_counter()
        client.run(ask(number), timeout=300)
        times.append(time.perf_counter() - began)
        time.sleep(0.05)
    return times


def _classify(number: int) -> Request:
    text = f"[[echo: delay=0.001]] my {LABELS[number % 3]} question number {number}"
    return Classify(text=text, labels=LABELS)


def _generate(number: int) -> Request:
    words = " ".join(f"{number}.{at}" for at in range(32))
    return Generate(messages=[Message(role="user", content=f"Repeat: {words}")], max_tokens=32)


def _long(number: int) -> Request:
    words = " ".join(f"w{number}" for _ in range(WORDS))
    text = f"Write a long story, with all of these words in it: {words}"
    return Generate(messages=[Message(role="user", content=text)], max_tokens=WORDS)


@contextmanager
def _working(fleet: Fleet, env: dict[str, str]) -> Iterator[None]:
    started = [fleet.start(part, **env) for part in ("router", "local", "sweeper")]
    fleet.wait_ready()
    yield
    for proc in started:
        fleet.kill(proc)
    redis.Redis.from_url(fleet.url).flushall()


@contextmanager
def _client(fleet: Fleet, tenant: str = "default") -> Iterator[Client]:
    settings = Settings(redis_url=fleet.url)
    with Client(settings=settings, tenant=tenant, patience=60) as client:
        yield client


@contextmanager
def _nothing(_fleet: Fleet, _folder: Path, _load: int) -> Iterator[None]:
    yield


@contextmanager
def _bulk_jobs(fleet: Fleet, _folder: Path, load: int) -> Iterator[None]:
    with _client(fleet) as client:
        list(client.submit_all(map(_long, range(load)), priority="bulk"))
        time.sleep(LOADED_S)
        yield


@contextmanager
def _long_answers(fleet: Fleet, _folder: Path, load: int) -> Iterator[None]:
    with _client(fleet, "busy") as client:
        list(client.submit_all(map(_long, range(load))))
        time.sleep(LOADED_S)
        yield


@contextmanager
def _rows(fleet: Fleet, folder: Path, load: int) -> Iterator[None]:
    path = folder / "rows.jsonl"
    lines = [_long(number).model_dump_json() for number in range(load)]
    path.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "forebay.producers.cli.main", "bulk", "run", str(path)]
    env = {**os.environ, "FOREBAY_REDIS_URL": fleet.url}
    with subprocess.Popen(
        [*command, "--out", str(folder / "out.jsonl"), "--overwrite"],
        env=env,
        stderr=subprocess.DEVNULL,
    ) as process:
        time.sleep(LOADED_S)
        try:
            yield
            assert process.poll() is None, "the bulk ended before: give it more rows"
        finally:
            process.kill()


if __name__ == "__main__":
    main()
