"""Measure whether an actor grows: jobs through each of them, and the slope of its memory.

Run `python tests/benchmarks/memory.py --jobs 100000`. The jobs take all ways through a fleet: to
the local lane at once, through the router, and up to the mock of Bedrock, or only the ways that
`--ways` names. Prints for each process the resident size, its slope in KiB for each 1,000 jobs with
the 95 % interval, and how many files and threads it had at the begin and at the end. The first
fifth is left out: caches fill and pools grow to their size. `--json FILE` adds the figures to a
file, and draws the plot.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from figures import add_figures  # noqa: E402 - the program beside this one

from forebay.producers.client import Client  # noqa: E402 - found by the line above
from forebay.routing.jobs import Generate, Job, Message  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the lines above

ACTORS = ("router", "local", "bedrock", "sweeper")
WARM = 0.2  # of the jobs, before memory is expected to be flat
BLOCKS = 16  # means of neighbouring samples: samples themselves depend on each other
T_95 = 2.145  # Student's t for two parameters less than the blocks
WAYS = ("deny", "deny", "allow", "deny", "deny", "bedrock", "deny", "allow")
POLICY = "[defaults.second_opinion]\ngenerate = 0.0\n"
KEPT_S = "60"  # answers are not what is measured


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


def main() -> None:
    """Print a row for each process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--ways", nargs="+", choices=sorted(set(WAYS)), default=WAYS)
    parser.add_argument("--json", type=Path, help="a file to add the figures to")
    options = parser.parse_args()
    jobs = _jobs(options.jobs, options.ways)
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        samples = _run(fleet, jobs, max(1, options.jobs // options.samples))
    print(f"{options.jobs:,} jobs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}")
    print(f"{'':10} {'MiB':>6} {'KiB per 1,000 jobs':>20} {'files':>9} {'threads':>9}")
    for name, taken in samples.items():
        late = [each for each in taken if each.jobs >= WARM * options.jobs]
        slope, first, last = slope_of(late), late[0], late[-1]
        print(
            f"{name:10} {last.kib / 1024:6.0f} {slope.value:10.1f} ± {slope.margin:<7.1f} "
            f"{first.files:4} {last.files:4} {first.threads:4} {last.threads:4}"
        )
    add_figures(options.json, "memory", samples)


def _run(fleet: Fleet, jobs: Iterator[Job], every: int) -> dict[str, list[Sample]]:
    """Send jobs through the fleet, and look at its processes after every so many."""
    fleet.start_redis(maxmemory="4gb")
    policy = fleet.folder / "policy.toml"
    policy.write_text(POLICY)
    env = {
        "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": "16",
        "FOREBAY_METRICS_PORT": "0", "FOREBAY_RETENTION_S": KEPT_S,
    }  # fmt: skip
    fleet.start("mock_bedrock")
    parts = {name: fleet.start(name, **env) for name in ACTORS}
    fleet.wait_ready()
    processes = {name: psutil.Process(part.pid) for name, part in parts.items()}
    processes["engine"] = processes["local"].children()[0]
    samples: dict[str, list[Sample]] = {name: [] for name in processes}
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        answers = client.map(jobs)
        done = 0
        while some := sum(1 for _ in islice(answers, every)):
            done += some
            for name, process in processes.items():
                samples[name].append(_sample(done, process))
    return samples


def _jobs(count: int, ways: Sequence[str]) -> Iterator[Job]:
    for number in range(count):
        way = ways[number % len(ways)]
        text = f"[[echo: say=ok]] a question with the number {number}"
        request = Generate(messages=[Message(role="user", content=text)], max_tokens=4)
        lane = "bedrock" if way == "bedrock" else "auto"
        yield Job(request=request, lane=lane, egress="deny" if way == "deny" else "allow")


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
