"""Measure how long jobs wait while every actor of a fleet is replaced, beside an undisturbed time.

    python tests/benchmarks/rolling.py            (--rate, --undisturbed, --rounds)

A producer submits at a steady rate. After the undisturbed time each actor is replaced, one after
the other: a new one is started, and once it is ready, the old one is told to stop. Printed are the
50th and 99th percentile of the time between a submit and the claim, and the ratio of the two.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from local.fleet import Fleet  # noqa: E402 - of the path above

ACTORS = ("router", "local", "bedrock", "sweeper")
POLICY = (
    "[defaults]\nscan_secrets = false\ndaily_budget_usd = inf\n[fleet]\ndaily_budget_usd = inf\n"
)
LOAD = ROOT / "tests" / "support" / "steady_load.py"


def main() -> None:
    """Print a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, default=16.0, help="jobs a second")
    parser.add_argument("--undisturbed", type=float, default=15.0, help="seconds")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':>12} {'undisturbed':>17} {'replaced':>17} {'p99':>6} {'p50':>6}")
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            _print(number + 1, *_round(Path(name), options.rate, options.undisturbed))
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


def _round(folder: Path, rate: float, undisturbed_s: float) -> tuple[list[float], list[float]]:
    """Return the waits of the undisturbed time, and those while actors were replaced."""
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    env = {"FOREBAY_ENGINE": "echo", "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_GRACE_S": "5"}
    with Fleet(folder / "fleet", env) as fleet:
        fleet.start_redis()
        fleet.start("mock_bedrock")
        running = [(part, fleet.start(part)) for part in ACTORS]
        fleet.wait_ready()
        words = [sys.executable, str(LOAD), "--rate", str(rate)]
        environment = {
            **os.environ, "FOREBAY_REDIS_URL": fleet.url, "PYTHONPATH": str(ROOT / "src"),
        }  # fmt: skip
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(words, env=environment, text=True, **pipes) as producer:
            producer.stdout.readline()
            time.sleep(undisturbed_s)
            for part, process in running:
                fleet.start(part)
                fleet.wait_ready()
                fleet.kill(process, signal.SIGTERM)
            jobs = json.loads(producer.communicate(timeout=200)[0])
    assert [job for job in jobs if "failed" in job] == []
    waits = [job["waited_s"] for job in jobs]
    first = int(rate * undisturbed_s)
    return waits[:first], waits[first:]


def _print(number: int, undisturbed: list[float], replaced: list[float]) -> None:
    quiet, busy = (
        (statistics.median(waits), statistics.quantiles(waits, n=100)[-1])
        for waits in (undisturbed, replaced)
    )
    print(
        f"round {number:6} {quiet[0]:7.3f} {quiet[1]:7.3f} s {busy[0]:7.3f} {busy[1]:7.3f} s "
        f"{busy[1] / quiet[1]:5.1f}x {busy[0] / quiet[0]:5.1f}x",
        flush=True,
    )


if __name__ == "__main__":
    main()
