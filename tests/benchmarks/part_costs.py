"""Measure the CPU time that a job takes from each part of a fleet: alone, and as a row of a bulk.

Run `python tests/benchmarks/part_costs.py --jobs 3000 --rows 30000`. A part that needs a
millisecond a job ends at most 1,000 jobs a second a core, so the figures say which part a growing
fleet runs out of first. Both ways run on one fleet with the echo engine, so a card's time is not
in it. CPU time hardly depends on what else a machine does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "deploy")]

from bulk import SLOTS, _client, _command, _request, _warm, _write  # noqa: E402 - found above

from local.fleet import Fleet  # noqa: E402 - likewise
from local.process import Process  # noqa: E402 - likewise

PARTS = ("router", "local", "sweeper")


def main() -> None:
    """Print a row for each part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=3_000)
    parser.add_argument("--rows", type=int, default=30_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name) / "fleet") as fleet:
        parts = {"Redis": fleet.start_redis()}
        for part in PARTS:
            parts[part] = fleet.start(part, FOREBAY_ENGINE="echo", FOREBAY_SLOTS=SLOTS)
        fleet.wait_ready()
        folder = Path(name)
        _write(folder / "rows.jsonl", options.rows)
        with _client(fleet) as client:
            _warm(client)
            single = costs(parts, lambda: mapped(client, options.jobs))
        bulk = costs(parts, lambda: bulked(fleet, folder))
    print(f"{'CPU ms':10} {'a job':>8} {'jobs/s a core':>14} {'a row':>8} {'rows/s a core':>14}")
    for part in single:
        job, row = 1000 * single[part] / options.jobs, 1000 * bulk[part] / options.rows
        print(f"{part:10} {job:8.3f} {1000 / job:14,.0f} {row:8.4f} {1000 / row:14,.0f}")


def mapped(client, jobs: int) -> None:
    """Take jobs through both hops, each a job of its own."""
    assert sum(1 for _ in client.map(map(_request, range(jobs)))) == jobs


def bulked(fleet: Fleet, folder: Path) -> None:
    """Take the rows of a file through a bulk."""
    env = {"PATH": "/usr/bin:/bin", "FOREBAY_REDIS_URL": fleet.url}
    subprocess.run(_command(folder, "out.jsonl"), env=env, stderr=subprocess.DEVNULL, check=True)


def costs(parts: dict[str, Process], run: Callable[[], None]) -> dict[str, float]:
    """Return the seconds of CPU time that something takes from each part and its children."""
    before = {name: used(psutil.Process(part.pid)) for name, part in parts.items()}
    before["client"] = own()
    run()
    after = {name: used(psutil.Process(part.pid)) for name, part in parts.items()}
    after["client"] = own()
    return {name: max(after[name] - before[name], 1e-6) for name in after}


def used(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of its children."""
    tree = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in tree)


def own() -> float:
    """Return the CPU seconds of this program and of the programs that it ran."""
    return sum(psutil.Process().cpu_times()[:4])


if __name__ == "__main__":
    main()
