"""Compare the waits that `forebay capacity` predicts with those of a real fleet.

Run `python tests/benchmarks/capacity.py`. A local worker with the echo engine has four slots. Jobs
come independently, at three loads; each takes as many words as a service time drawn from a file
says. Printed are the 95th percentile of the waits as measured, as predicted, and as it would have
been with the very same jobs in a queue without any overhead.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from forebay.producers.client import Client  # noqa: E402
from forebay.routing.capacity.queueing import SlotQueue  # noqa: E402
from forebay.routing.capacity.sizing import Load  # noqa: E402
from forebay.routing.jobs import Generate, Message  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the lines above

SLOTS, WORD_S = 4, 0.01
LOADS = (0.6, 0.75, 0.85)


def main() -> None:
    """Print a line for each load."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2_500, help="of each load")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    env = {
        "FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": str(SLOTS), "FOREBAY_ECHO_DELAY_S": str(WORD_S),
    }  # fmt: skip
    print(f"{'busy':>5} {'jobs':>6} {'p95 s':>7} {'predicted':>10} {'played':>7} {'off':>6}")
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name) / "fleet") as fleet:
        fleet.start_redis()
        for part in ("router", "local", "sweeper"):
            fleet.start(part, **env)
        fleet.wait_ready()
        for busy in LOADS:
            times = _service_times(Path(name) / "times.txt", options.jobs, dice)
            rate = busy * SLOTS / statistics.fmean(times)
            gaps = [dice.expovariate(rate) for _ in times]
            _print(busy, times, rate, gaps, _measured(fleet, times, gaps))
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


def _service_times(path: Path, count: int, dice: random.Random) -> list[float]:
    """Write service times of whole words, of which the engine makes one a step; return them."""
    drawn = (max(1, round(dice.lognormvariate(2.2, 0.6))) * WORD_S for _ in range(count))
    path.write_text("".join(f"{seconds}\n" for seconds in drawn))
    return [float(line) for line in path.read_text().splitlines()]


def _measured(fleet: Fleet, times: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Submit jobs after these gaps; return how long each took beyond its own service time."""
    settings = Settings(redis_url=fleet.url)
    with Client(settings=settings, patience=60) as client:
        due, ids = time.monotonic(), []
        for seconds, gap in zip(times, gaps, strict=True):
            due += gap
            time.sleep(max(0.0, due - time.monotonic()))
            ids.append(client.submit(_job(round(seconds / WORD_S))))
        receipts = [client.result(job_id, timeout=120).receipt for job_id in ids]
    return [got.total_s - took for got, took in zip(receipts, times, strict=True)]


def _job(words: int) -> Generate:
    content = f"Repeat: {'word ' * words}"
    return Generate(messages=[Message(role="user", content=content)], max_tokens=words)


def _played(times: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Return the waits in a queue without overhead (Kiefer and Wolfowitz, 1955)."""
    free, now, waits = [0.0] * SLOTS, 0.0, []
    for took, gap in zip(times, gaps, strict=True):
        now += gap
        begins = max(now, heapq.heappop(free))
        heapq.heappush(free, begins + took)
        waits.append(begins - now)
    return waits


def _print(
    busy: float, times: Sequence[float], rate: float, gaps: Sequence[float], waits: Sequence[float]
) -> None:
    load = Load.of(rate, times)
    predicted = SlotQueue(rate, load.service_s, SLOTS, load.service_cv2).wait_s(0.95)
    measured, played = (
        statistics.quantiles(row, n=20)[-1] for row in (waits, _played(times, gaps))
    )
    off = predicted / measured - 1
    print(
        f"{busy:5.0%} {len(times):6,} {measured:7.3f} {predicted:10.3f} {played:7.3f} {off:+6.0%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
