"""Measure whether an actor grows: jobs through each of them, and the slope of its memory.

Run `python tests/benchmarks/memory.py --jobs 100000`. So many jobs take each way through one fleet,
one way after the other: from a client through the router to the local lane, from a client to the
mock of Bedrock, and through the gateway to the local lane; or only the ways that `--ways` names.
The metrics of all workers are read all the while, and Flower looks on. Prints for each process the
resident size, its slope in KiB for each 1,000 jobs with the 95 % interval, and how many files and
threads it had at the begin and at the end, of the way that loads it most. The first fifth of a way
is left out: caches fill and pools grow to their size. `--json FILE` adds the figures to a file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import httpx2
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from figures import add_figures  # noqa: E402 - the program beside this one

from forebay.producers.client import Client  # noqa: E402 - found by the line above
from forebay.routing.errors import ForebayError  # noqa: E402
from forebay.routing.jobs import Generate, Job, Message  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the lines above
from local.process import Process  # noqa: E402

ACTORS = ("router", "local", "bedrock", "sweeper", "gateway", "flower")
#: The ways that jobs take, and the processes that each loads most.
WAYS: Mapping[str, tuple[str, ...]] = {
    "local": ("client", "router", "local", "engine", "sweeper"),
    "bedrock": ("bedrock",),
    "gateway": ("gateway", "flower"),
}
CALLERS = 16  # of the gateway at once
WARM = 0.2  # of the jobs, before memory is expected to be flat
BLOCKS = 16  # means of neighbouring samples: samples themselves depend on each other
T_95 = 2.145  # Student's t for two parameters less than the blocks
POLICY = "[defaults.thresholds]\ngenerate = 0.0\n[defaults.second_opinion]\ngenerate = 0.0\n"
KEPT_S = "60"  # answers are not what is measured
CHAT_S = 120.0  # that a caller of the gateway waits, on a busy machine


class Sample(NamedTuple):
    """A process after so many jobs."""

    jobs: int
    kib: float
    files: int
    threads: int


class Slope(NamedTuple):
    """KiB for each 1,000 jobs: the estimate, and half of its 95 % interval."""

    value: float
    margin: float


Samples = dict[str, list[Sample]]  # by the name of the process


def main() -> None:
    """Print a row for each process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=100_000, help="that take each way")
    parser.add_argument("--samples", type=int, default=200, help="of each process, on each way")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", type=Path, help="a file to add the figures to")
    options = parser.parse_args()
    every, taken = max(1, options.jobs // options.samples), {}
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        parts = _started(fleet)
        print(f"{options.jobs:,} jobs each way, {os.cpu_count()} cores")
        print(f"{'':10} {'MiB':>6} {'KiB per 1,000 jobs':>20} {'files':>9} {'threads':>9}")
        for way in options.ways:
            samples = _run(fleet, parts, way, options.jobs, every)
            for name, each in samples.items():
                taken[name] = {"samples": each, "slope": _print_row(name, each)}
            print(f"{way}: load {os.getloadavg()[0]:.0f}", flush=True)
    add_figures(options.json, "memory", taken)


def _print_row(name: str, samples: list[Sample]) -> Slope:
    """Print what a process did; return its slope."""
    late = [each for each in samples if each.jobs >= WARM * samples[-1].jobs]
    slope, first, last = slope_of(late), late[0], late[-1]
    print(
        f"{name:10} {last.kib / 1024:6.0f} {slope.value:10.1f} ± {slope.margin:<7.1f} "
        f"{first.files:4} {last.files:4} {first.threads:4} {last.threads:4}"
    )
    return slope


def _started(fleet: Fleet) -> dict[str, Process]:
    """Start a fleet, and return its actors."""
    fleet.start_redis(maxmemory="4gb")
    policy = fleet.folder / "policy.toml"
    policy.write_text(POLICY)
    env = {
        "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": "16",
        "FOREBAY_METRICS_PORT": "0", "FOREBAY_RETENTION_S": KEPT_S,
        "FOREBAY_GATEWAY_TENANT": "default",
    }  # fmt: skip
    fleet.start("mock_bedrock")
    parts = {name: fleet.start(name, **env) for name in ACTORS}
    fleet.wait_ready()
    return parts


def _run(fleet: Fleet, parts: Mapping[str, Process], way: str, jobs: int, every: int) -> Samples:
    """Send jobs one way, and look at the processes that this loads after every so many."""
    processes = {name: psutil.Process(part.pid) for name, part in parts.items()}
    processes["engine"] = processes["local"].children()[0]
    metrics = [found[1] for part in parts.values() if (found := part.logged(r"metrics at (\S+)"))]
    send, url = (_call, fleet.gateway_url) if way == "gateway" else (_submit, fleet.url)
    samples, done = Samples((name, []) for name in WAYS[way]), 0
    for some, processes["client"] in _sent(send, url, way, jobs, every):
        done += some
        for name, taken in samples.items():
            taken.append(_sample(done, processes[name]))
        for address in metrics:
            urllib.request.urlopen(address).read()
    if done < jobs:
        raise SystemExit(f"{way}: {jobs - done} jobs have no answer")
    return samples


def _sent(
    send: Callable[..., None], url: str, way: str, jobs: int, every: int
) -> Iterator[tuple[int, psutil.Process]]:
    """Send jobs from a process of its own; yield how many more are answered, and the process."""
    context = get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    sender = context.Process(target=send, args=(writer, url, way, jobs, every), daemon=True)
    sender.start()
    writer.close()
    try:
        while True:
            yield reader.recv(), psutil.Process(sender.pid)
    except EOFError:
        sender.join()


def _submit(done: Connection, url: str, way: str, jobs: int, every: int) -> None:
    """Submit jobs by a client, and tell after every so many that they are answered."""
    with Client(settings=Settings(redis_url=url)) as client:
        answers = client.map(_job(number, way) for number in range(jobs))
        while some := list(islice(answers, every)):
            for answer in some:
                if isinstance(answer, ForebayError):
                    raise answer
            done.send(len(some))


def _job(number: int, way: str) -> Job:
    request = Generate(messages=[Message(role="user", content=_text(number))], max_tokens=4)
    return Job(request=request, lane="bedrock" if way == "bedrock" else "auto", egress="allow")


def _call(done: Connection, url: str, _way: str, jobs: int, every: int) -> None:
    """Ask for chats over HTTP, and tell after every so many that they are answered."""

    def ask(number: int) -> None:
        messages = [{"role": "user", "content": _text(number)}]
        body = {"model": "auto", "messages": messages, "max_tokens": 4}
        http.post("/v1/chat/completions", json=body).raise_for_status()

    with httpx2.Client(base_url=url, timeout=CHAT_S) as http, ThreadPoolExecutor(CALLERS) as pool:
        for begin in range(0, jobs, every):
            numbers = range(begin, min(jobs, begin + every))
            done.send(sum(1 for _ in pool.map(ask, numbers)))


def _text(number: int) -> str:
    return f"[[echo: say=ok]] a question with the number {number}"


def _sample(jobs: int, process: psutil.Process) -> Sample:
    with process.oneshot():
        kib = process.memory_info().rss / 1024
        return Sample(jobs, kib, process.num_fds(), process.num_threads())


def slope_of(samples: list[Sample]) -> Slope:
    """Return the slope of the resident size by least squares over the means of blocks."""
    size = max(1, len(samples) // BLOCKS)
    blocks = [samples[at : at + size] for at in range(0, size * BLOCKS, size)]
    thousands = [statistics.fmean(each.jobs for each in block) / 1000 for block in blocks if block]
    kib = [statistics.fmean(each.kib for each in block) for block in blocks if block]
    slope, base = statistics.linear_regression(thousands, kib)
    errors = [y - base - slope * x for x, y in zip(thousands, kib, strict=True)]
    spread = sum((x - statistics.fmean(thousands)) ** 2 for x in thousands)
    deviation = (sum(error**2 for error in errors) / (len(errors) - 2) / spread) ** 0.5
    return Slope(slope, T_95 * deviation)


if __name__ == "__main__":
    main()
