"""The producer: submits orders at their time, through outages, and remembers what it was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from producers.client import Client
from routing.errors import ForebayError, UnknownJob
from routing.jobs import Job
from routing.settings import Settings
from workload import TENANTS, Order

PATIENCE_S = 30.0


class Producer(threading.Thread):
    """Submits and cancels.

    Attributes:
        accepted: ids that `submit` returned.
        doubtful: ids of jobs whose `submit` raised, and which were not submitted again.
        wrong: what a producer was told that cannot be.
    """

    def __init__(self, url: str, orders: Iterable[Order]) -> None:
        super().__init__(name="producer", daemon=True)
        settings = Settings(redis_url=url)
        self.accepted: set[str] = set()
        self.doubtful: set[str] = set()
        self.cancelled: set[str] = set()
        self.wrong: list[str] = []
        self._clients = {name: Client(tenant=name, settings=settings) for name in TENANTS}
        self._orders = orders
        self._cancels: list[tuple[float, str]] = []

    def run(self) -> None:
        """All orders, then all cancels."""
        began = time.monotonic()
        for order in self._orders:
            while (pause := order.at - (time.monotonic() - began)) > 0:
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
        made = self._put(client, job, stubborn=order.stubborn)
        if made is None:
            self.doubtful.add(job.id)
            return
        self.accepted.add(made)
        if order.again and self._put(client, self._twin(job), stubborn=True) != made:
            self.wrong.append(f"{made} and its duplicate are two")
        if order.cancel_s is not None:
            self._cancels.append((time.monotonic() + order.cancel_s, made))

    @staticmethod
    def _twin(job: Job) -> Job:
        """The same job as a producer would make it anew, with another id."""
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
        now = time.monotonic()
        for due, job_id in [each for each in self._cancels if each[0] <= now]:
            try:
                if self._clients[job_id.partition(".")[0]].cancel(job_id):
                    self.cancelled.add(job_id)
            except UnknownJob:
                self.wrong.append(f"{job_id} was accepted and is not known")
            except ForebayError:
                continue  # Redis is away: once more
            self._cancels.remove((due, job_id))
