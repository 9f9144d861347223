"""The heartbeat: the fleet knows its workers, and each worker hears what an operator orders."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from celery.bootsteps import StartStopStep

import forebay
from forebay.routing.errors import ForebayError
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.worker_status import WorkerStatus
from forebay.routing.logs import Event, event
from forebay.routing.overview.orders import Order, Orders
from forebay.routing.overview.workers import ALIVE_S
from forebay.routing.policy.followed_file import stamp
from forebay.routing.policy.policy_file import Policy
from forebay.workers.engines.host.supervisor import open_engines
from forebay.workers.runtime.claims.in_flight import InFlight

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
ROUND_S = 1.0  # between two calls from the consumer's loop


class Heartbeat:
    """Tells the fleet of this worker every other second, and takes an operator's orders.

    1. Writes the worker's name, Celery's, to `fb:serving:<queue>`, unless it takes no jobs.
    2. Writes what the worker is and does (`WorkerStatus`) to `fb:worker:<name>`.
    3. Notices if Redis lost its data meanwhile, and says so.
    4. Reads whether it is drained, and how many jobs it may hold. `obey` has Celery's consumer
       take no more doorbells than that.

    Args:
        ledger: where the heartbeat is written.
        queues: returns the queues that the worker consumes when it is not drained.
        in_flight: the jobs that run.
        well: returns whether the worker takes jobs; if not, it does not count as serving.
        also: called with each heartbeat of a worker that is well.
    """

    def __init__(
        self,
        ledger: Ledger,
        queues: Callable[[], Sequence[str]],
        in_flight: InFlight,
        well: Callable[[], bool],
        also: Callable[[], object] = lambda: None,
    ) -> None:
        self._ledger, self._orders = ledger, Orders(ledger.redis)
        self._worker, self._order = "", Order()
        self._queues = queues
        self._in_flight = in_flight
        self._threads = in_flight.slots
        self._well = well
        self._also = also
        self._began = time.time()
        self._born, self._emptied = b"", 0.0
        self._stopped = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")

    def start(self, worker: str) -> None:
        """Begin, under Celery's name of this worker, unless it has begun."""
        with self._starting:
            if not self._worker:
                self._worker = worker
                self._threads = self._in_flight.slots
                self._listen()
                self._thread.start()

    def stop(self) -> None:
        """Stop, and withdraw the worker's name if Redis can be reached."""
        if self._stopped.is_set() or not self._worker:
            return
        self._stopped.set()
        self._thread.join(timeout=INTERVAL_S)
        self._beat(0, "")

    def obey(self, consumer: Any) -> None:
        """Have Celery's consumer take doorbells as ordered. Called from the consumer's loop."""
        if not self._worker or consumer.task_consumer is None:
            return
        for queue in self._queues():
            consumes = consumer.task_consumer.consuming_from(queue)
            if self._order.drained and consumes:
                consumer.task_consumer.cancel_by_queue(queue)
            elif not self._order.drained and not consumes:
                consumer.task_consumer.add_queue(consumer.app.amqp.queues[queue])
                consumer.task_consumer.consume()
        if consumer.qos.value != self._in_flight.slots:
            consumer.qos.value = self._in_flight.slots  # the consumer's loop tells the broker

    def _run(self) -> None:
        self._tell()
        while not self._stopped.wait(INTERVAL_S):
            self._listen()
            self._tell()

    def _listen(self) -> None:
        """Read the operator's orders; without Redis the last ones hold."""
        try:
            self._order = self._orders.of(self._worker)
        except ForebayError as error:
            log.warning("cannot read my orders: %s", error, extra=event(Event.WORKER_UNSEEN))
        hands = self._threads if self._order.hands is None else self._order.hands
        self._in_flight.slots = max(1, min(hands, self._threads))
        self._in_flight.drained = self._order.drained

    def _tell(self) -> None:
        serves = self._well() and not self._order.drained
        self._beat(ALIVE_S if serves else 0, self._status().model_dump_json())

    def _beat(self, for_s: float, about: str) -> None:
        """Count this worker as serving for so many seconds from now on."""
        try:
            self._compare(self._ledger.serve(self._worker, self._queues(), for_s, about))
            if for_s:
                self._also()
        except ForebayError as error:
            log.warning("cannot write the heartbeat: %s", error, extra=event(Event.WORKER_UNSEEN))

    def _compare(self, born: bytes) -> None:
        """Notice if Redis has other data than at the first heartbeat."""
        if self._born and born and born != self._born:
            self._emptied = int(born) / 1000
            message = "Redis lost its data: all jobs, answers, keys and books from before are gone"
            log.error(message, extra=event(Event.REDIS_EMPTIED))
        self._born = born or self._born

    def _status(self) -> WorkerStatus:
        """Return what this worker is and does."""
        engines = sorted((engine.info() for engine in open_engines()), key=lambda info: info.model)
        jobs, mean_s = self._in_flight.last_minute.rate()
        policy_file = self._ledger.settings.policy_file
        return WorkerStatus(
            name=self._worker, queues=tuple(self._queues()),
            engine=",".join(info.engine for info in engines),
            model=",".join(info.model for info in engines),
            slots=max((info.slots for info in engines), default=self._threads),
            threads=self._threads, hands=self._in_flight.slots,
            reserve=self._in_flight.reserve, busy=len(self._in_flight.claims()), jobs_minute=jobs,
            mean_s=round(mean_s, 4), retries_minute=self._in_flight.retries.rate()[0],
            policy=_policy_version(policy_file, stamp(policy_file)),
            version=forebay.__version__, host=socket.gethostname(), pid=os.getpid(),
            started=self._began, drained=self._order.drained, well=self._well(),
            emptied=self._emptied,
        )  # fmt: skip


def step_calling(call: Callable[[Any], None]) -> type[StartStopStep]:
    """Return a step of Celery's consumer that calls this from each connection's event loop."""

    class RoundStep(StartStopStep):  # type: ignore[misc] # Celery has no types
        def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
            hub.call_repeatedly(ROUND_S, call, consumer)

    return RoundStep


@lru_cache(maxsize=1)
def _policy_version(path: Path | None, _stamp: object) -> str:
    """Return the version of the policy in a file of this date; empty if it cannot be read."""
    try:
        return Policy.load(path).version
    except ForebayError:
        return ""
