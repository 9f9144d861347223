"""Submit the jobs of others at their time, wait for each answer, and write down how long it took.

The time of a job counts from when it was due, so that a client that is held up hides nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src"), str(HERE.parents[1] / "deploy")]

from books.diary import Diary  # noqa: E402 - found by the path set above
from forebay.producers.client import Client  # noqa: E402 - likewise
from forebay.routing.errors import ForebayError  # noqa: E402 - likewise
from forebay.routing.settings import Settings  # noqa: E402 - likewise
from storms.neighbours import TENANTS, NeighbourJob, neighbour_jobs  # noqa: E402 - likewise
from storms.storm import patiently  # noqa: E402 - likewise

THREADS = 512  # more than jobs can be waiting, or jobs would wait for a thread of this client
PATIENCE_S = 120.0


class Neighbours:
    """The clients of some tenants that do nothing wrong."""

    def __init__(self, urls: dict[str, str], folder: Path) -> None:
        self._clients = {
            name: Client(tenant=name, settings=Settings(redis_url=urls[name])) for name in TENANTS
        }
        self._told = Diary(folder / "told")
        self._times = (folder / "timings").open("a")
        self._enough = folder / "enough"
        self._lock = threading.Lock()

    def run(self, orders: list[NeighbourJob], began: float) -> None:
        """Run all jobs, each at its time; return when all have ended."""
        with ThreadPoolExecutor(THREADS) as pool:
            for order in orders:
                time.sleep(max(0.0, began + order.at - time.time()))
                if self._enough.exists():
                    break
                pool.submit(self._one, order, began + order.at)

    def _one(self, order: NeighbourJob, due: float) -> None:
        client, until = self._clients[order.tenant], due + PATIENCE_S
        job = client.job(order.request, **order.options)
        self._told.note("tried", job.id, order.number)
        made = patiently(lambda: client.submit(job), until)
        if made is None:
            self._write(order, due, "refused")
            return
        self._told.note("accepted", made, order.number)
        try:
            status = client.result(made, timeout=PATIENCE_S).status
        except ForebayError as error:
            status = error.code
        except TimeoutError:
            status = "late"
        self._write(order, due, status)

    def _write(self, order: NeighbourJob, due: float, status: str) -> None:
        line = json.dumps([due, order.lane, status, time.time() - due])
        with self._lock:
            self._times.write(line + "\n")
            self._times.flush()


def main() -> None:
    """Submit until the span is over, or until the file `enough` is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--span", type=float)
    given = parser.parse_args()
    others = Neighbours(json.loads(os.environ["CHAOS_URLS"]), Path(os.environ["CHAOS_FOLDER"]))
    orders = list(neighbour_jobs(given.seed, given.rate, given.span))
    print("submitting", flush=True)
    others.run(orders, time.time())


if __name__ == "__main__":
    main()
