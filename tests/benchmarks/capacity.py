"""Compare the waits that `forebay capacity` predicts with those of a real fleet.

Run `python tests/benchmarks/capacity.py`. A local worker with the echo engine has four slots. Jobs
come independently, at three loads; each takes as many words as a service time drawn from a file
says.

The 95th percentile of some hundred waits is mostly chance: of when jobs came, and how long they
were. So the very same jobs are also played through a queue without any overhead, and the difference
of the two is what the fleet adds. Printed are the percentile as measured and as played, what it is
on average over many such queues, and that average with what the fleet adds, beside the prediction.
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
PLAYED, PLAYED_JOBS = 40, 20_000  # queues that are played through for the average
LOADS = (0.6, 0.75, 0.85)


def main() -> None:
    """Print a line for each load."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=800, help="of each load")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    env = {
        "FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": str(SLOTS), "FOREBAY_ECHO_DELAY_S": str(WORD_S),
    }  # fmt: skip
    print(
        f"{'busy':>5} {'jobs':>6} {'measured':>9} {'played':>7} {'on average':>11} {'fleet':>7} "
        f"{'predicted':>10} {'off':>6}"
    )
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name) / "fleet") as fleet:
        fleet.start_redis()
        for part in ("router", "local", "sweeper"):
            fleet.start(part, **env)
        fleet.wait_ready()
        for busy in LOADS:
            times = _service_times(Path(name) / "times.txt", options.jobs, dice)
            rate = busy * SLOTS / MEAN_S
            gaps = [dice.expovariate(rate) for _ in times]
            _print(
                busy,
                len(times),
                rate,
                _p95(_played(times, gaps)),
                _p95(_measured(fleet, times, gaps)),
                dice,
            )
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


def _service_times(path: Path, count: int, dice: random.Random) -> list[float]:
    """Write service times to a file, and return them as they are read from it."""
    path.write_text("".join(f"{seconds}\n" for seconds in _drawn(count, dice)))
    return [float(line) for line in path.read_text().splitlines()]


def _drawn(count: int, dice: random.Random) -> list[float]:
    """Return service times of whole words, of which the engine makes one a step."""
    return [max(1, round(dice.lognormvariate(2.2, 0.6))) * WORD_S for _ in range(count)]


#: The same on average, whatever jobs are drawn, so that a load is what it says.
MANY = _drawn(200_000, random.Random(0))
MEAN_S = statistics.fmean(MANY)


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


def _p95(waits: Sequence[float]) -> float:
    return statistics.quantiles(waits, n=20)[-1]


def _on_average(rate: float, dice: random.Random) -> float:
    """Return the 95th percentile in a queue without overhead, over many of them."""
    played = []
    for _ in range(PLAYED):
        times = _drawn(PLAYED_JOBS, dice)
        played.append(_p95(_played(times, [dice.expovariate(rate) for _ in times])))
    return statistics.fmean(played)


def _print(
    busy: float, jobs: int, rate: float, played: float, measured: float, dice: random.Random
) -> None:
    load = Load.of(rate, MANY)
    predicted = SlotQueue(rate, load.service_s, SLOTS, load.service_cv2).wait_s(0.95)
    average = _on_average(rate, dice)
    fleet = average + measured - played
    print(
        f"{busy:5.0%} {jobs:6,} {measured:9.3f} {played:7.3f} {average:11.3f} {fleet:7.3f} "
        f"{predicted:10.3f} {predicted / fleet - 1:+6.0%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
