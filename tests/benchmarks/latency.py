"""Measure how soon a job starts, and how soon its answer is there, while little else waits.

Run `python tests/benchmarks/latency.py`. Jobs go one at a time through a real fleet with the echo
engine, whose answer takes no time: what is printed is what the queue costs. A job that may not
leave takes one hop; one that may leave gets a verdict first and takes two.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src"), str(HERE.parents[1] / "deploy")]

from figures import add_figures  # noqa: E402 - found by the line above
from overhead import ASK, STAYS  # noqa: E402 - likewise

from forebay.producers.client import Client  # noqa: E402 - likewise
from forebay.routing.base import Egress  # noqa: E402 - likewise
from forebay.routing.settings import Settings  # noqa: E402 - likewise
from local.fleet import Fleet  # noqa: E402 - likewise

HOPS: dict[str, Egress] = {"one hop": "deny", "two hops": "allow"}
PAUSE_S = 0.02  # between two jobs
WARM = 10  # jobs that do not count
PUBLISHED_S = 3.0  # until the routers have published which jobs need no router


def main() -> None:
    """Print the milliseconds of one hop and of two."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--json", type=Path, help="a file to add the hundredths to, in ms")
    options = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis()
        policy = fleet.folder / "policy.toml"
        policy.write_text(STAYS)
        for part in ("router", "sweeper", "local"):
            fleet.start(part, FOREBAY_POLICY_FILE=str(policy), FOREBAY_ENGINE="echo")
        fleet.wait_ready()
        time.sleep(PUBLISHED_S)
        print(f"{options.jobs} jobs one at a time, load of the machine {os.getloadavg()[0]:.0f}")
        print(f"{'ms':10} {'waited p50':>11} {'p99':>6} {'answered p50':>13} {'p99':>6}")
        for name, egress in HOPS.items():
            waited, answered = asked(fleet.url, egress, options.jobs)
            cuts = {"waited": quantiles(waited, n=100), "answered": quantiles(answered, n=100)}
            print(
                f"{name:10} {cuts['waited'][49]:11.1f} {cuts['waited'][98]:6.1f} "
                f"{cuts['answered'][49]:13.1f} {cuts['answered'][98]:6.1f}"
            )
            figures[name] = cuts
    add_figures(options.json, "latency", figures)


def asked(url: str, egress: Egress, jobs: int) -> tuple[list[float], list[float]]:
    """Return for each job the ms that it waited in queues, and until its answer was there."""
    waited, answered = [], []
    with Client(settings=Settings(redis_url=url)) as client:
        for _ in range(WARM + jobs):
            began = time.monotonic()
            answer = client.run(ASK, egress=egress, timeout=60)
            answered.append(1e3 * (time.monotonic() - began))
            waited.append(1e3 * answer.queued_s)
            time.sleep(PAUSE_S)
    return waited[WARM:], answered[WARM:]


if __name__ == "__main__":
    main()
