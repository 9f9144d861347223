"""Measure how soon commands, workers and a fleet are there: wall time and CPU time.

Run `python tests/benchmarks/startup.py`. Commands ask a real Redis of this machine. The CPU time
(user and system) says what a quiet machine would need at most; on a busy machine the wall time is
longer. All modules are compiled to bytecode first, as `pip install` does: a checkout under
`PYTHONDONTWRITEBYTECODE` would compile them again at each start.
"""

from __future__ import annotations

import argparse
import compileall
import os
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from figures import add_figures  # noqa: E402 - the program beside this one

from local.fleet import Fleet  # noqa: E402 - found by the line above

ROOMS = ("routing", "workers", "producers", "deploy")
PARTS = ("mock_bedrock", "router", "local", "bedrock", "sweeper", "gateway", "flower")


def main() -> None:
    """Print a line for each command, worker and fleet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--commands", action="store_true", help="no worker and no fleet")
    parser.add_argument("--json", type=Path, help="a file to add the wall times to, in ms")
    options = parser.parse_args()
    _compile()
    walls: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name) / "fleet") as fleet:
        fleet.start_redis()
        print(f"medians of {options.runs} runs; load of the machine {os.getloadavg()[0]:.1f}")
        print(f"{'':28} {'wall ms':>9} {'CPU ms':>9}")
        for label, command in _commands().items():
            walls[label] = _print(label, [_run(command, fleet.url) for _ in range(options.runs)])
        if not options.commands:
            walls["router"] = _print("router worker ready", [_router(fleet) for _ in range(3)])
            walls["make up"] = _print("fleet of `make up` ready", [_whole(fleet)])
    add_figures(options.json, "startup", walls)


def _compile() -> None:
    """Write the bytecode of Forebay and of all that is installed, where it is missing or old."""
    folders = [sysconfig.get_path("purelib"), *(ROOT / room for room in ROOMS)]
    for folder in folders:
        compileall.compile_dir(folder, quiet=2)


def _commands() -> dict[str, Sequence[str]]:
    python, forebay = sys.executable, [sys.executable, "-m", "forebay.producers.cli.main"]
    return {
        "python": [python, "-c", "pass"],
        "import forebay": [python, "-c", "import forebay"],
        "forebay --help": [*forebay, "--help"],
        "forebay submit": [*forebay, "submit", "summarize", "hello"],
        "forebay status": [*forebay, "status", f"default.{0:032x}"],
    }


def _print(label: str, runs: Sequence[tuple[float, float]]) -> float:
    """Print the medians of the runs; return the wall time's, in ms."""
    wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"{label:28} {wall * 1e3:9.0f} {cpu * 1e3:9.0f}", flush=True)
    return wall * 1e3


def _run(command: Sequence[str], url: str) -> tuple[float, float]:
    """Return the wall time and the CPU time of a command."""
    begun, before = time.perf_counter(), _children_s()
    env = {**os.environ, "FOREBAY_REDIS_URL": url}
    quiet = subprocess.DEVNULL
    subprocess.run(command, env=env, stdout=quiet, stderr=quiet, check=False)
    return time.perf_counter() - begun, _children_s() - before


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _router(fleet: Fleet) -> tuple[float, float]:
    begun = time.perf_counter()
    router = fleet.start("router")
    name = re.escape(router.name)
    while router.logged(rf"{name}@\S+ ready") is None:
        time.sleep(0.01)
    wall = time.perf_counter() - begun
    cpu = sum(psutil.Process(router.pid).cpu_times()[:2])
    fleet.kill(router)
    return wall, cpu


def _whole(fleet: Fleet) -> tuple[float, float]:
    begun = time.perf_counter()
    started = [fleet.start(part) for part in PARTS]
    fleet.wait_ready()
    wall = time.perf_counter() - begun
    tree = [psutil.Process(each.pid) for each in started]
    tree += [child for parent in tree for child in parent.children(recursive=True)]
    return wall, sum(sum(each.cpu_times()[:2]) for each in tree)


if __name__ == "__main__":
    main()
