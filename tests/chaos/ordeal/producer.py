"""Submit orders at their time, through outages, and write down each reply.

Several producers share the orders of a run. Each can be killed and restarted like any other part,
and goes on where its own diary ends. A job that was tried without a reply may exist or not. Once
the orders of the run are submitted, more follow until a file says that it is enough.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

from doom import doomed  # noqa: E402 - found by the path set above

doomed.rewrite(*doomed.CLOCK)  # before the ledger loads its scripts

from books.diary import Diary  # noqa: E402 - likewise
from forebay.producers.client import Client  # noqa: E402 - likewise
from forebay.routing.errors import ForebayError, UnknownJob  # noqa: E402 - likewise
from forebay.routing.jobs import Job  # noqa: E402 - likewise
from forebay.routing.settings import Settings  # noqa: E402 - likewise
from ordeal.workload import ENOUGH, SHARES, TENANTS, Order, orders  # noqa: E402 - likewise

PATIENCE_S = 30.0


class Producer:
    """Submits and cancels jobs; writes each try and each reply to the diary."""

    def __init__(self, settings: Settings, diary: Diary, began: float) -> None:
        self._diary = diary
        self._began = began
        self._clients = {name: Client(tenant=name, settings=settings) for name in TENANTS}
        self._cancels: list[tuple[float, str]] = []

    def run(self, wanted: Iterable[Order]) -> None:
        """Submit all orders, then send all cancels."""
        for order in wanted:
            while (pause := self._began + order.at - time.time()) > 0:
                self._cancel_due()
                time.sleep(min(pause, 0.05))
            self._submit(order)
        while self._cancels:
            self._cancel_due()
            time.sleep(0.05)
        for client in self._clients.values():
            client.close()

    def _submit(self, order: Order) -> None:
        client = self._clients[order.tenant]
        job = client.job(order.request, **order.options)
        self._diary.note("tried", job.id, str(order.number))
        made = self._put(client, job, stubborn=order.stubborn)
        if made is None:
            self._diary.note("refused", job.id, str(order.number))
            return
        self._diary.note("accepted", made, str(order.number))
        twin = self._put(client, self._twin(job), stubborn=True) if order.again else made
        if twin not in {made, None}:
            self._diary.note("accepted", twin, str(order.number))
        if twin != made:
            self._diary.note("wrong", made, "two-of-one-key")
        if order.cancel_s is not None:
            self._cancels.append((time.time() + order.cancel_s, made))

    @staticmethod
    def _twin(job: Job) -> Job:
        """Return the same job with a new id, as a producer that repeats a submit makes it."""
        return Job.model_validate({**job.model_dump(by_alias=True), "id": ""})

    @staticmethod
    def _put(client: Client, job: Job, *, stubborn: bool) -> str | None:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return client.submit(job)
            except ForebayError:
                if not stubborn or time.monotonic() > end:
                    return None
                time.sleep(0.1)

    def _cancel_due(self) -> None:
        for due, job_id in [each for each in self._cancels if each[0] <= time.time()]:
            try:
                self._clients[job_id.partition(".")[0]].cancel(job_id)
            except UnknownJob:
                self._diary.note("wrong", job_id, "not-known")
            except ForebayError:
                continue  # Redis is down: try again
            self._cancels.remove((due, job_id))


def main() -> None:
    """Submit one share of a run's orders, except those that are in the diary already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--span", type=float)
    parser.add_argument("--began", type=float, help="Unix seconds")
    given = parser.parse_args()
    diary = Diary(Path(os.environ["CHAOS_FOLDER"]) / "told")
    over = {e.more for e in diary.entries() if e.what in {"accepted", "refused"}}
    enough = Path(os.environ["CHAOS_FOLDER"]) / ENOUGH
    wanted = itertools.takewhile(
        lambda order: order.number < given.jobs or not enough.exists(),
        orders(given.seed, given.jobs, given.span),
    )
    mine = (o for o in wanted if o.number % SHARES == given.share and str(o.number) not in over)
    print("submitting", flush=True)
    Producer(Settings(), diary, given.began).run(mine)


if __name__ == "__main__":
    main()
