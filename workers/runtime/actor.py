"""What the actors have in common: a Celery worker that answers doorbells from the ledger.

Celery stays at the rim: a task takes no arguments, claims the best job of its queue, and returns
the few words of a receipt. Settings are read here, once, when the worker's module is loaded.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from celery import Celery
from celery.bootsteps import StartStopStep
from celery.signals import (
    setup_logging,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from forebay.routing import logs
from forebay.routing.broker.app import celery_app
from forebay.routing.broker.doorbell import template
from forebay.routing.errors import CallerError, ForebayError, Unavailable
from forebay.routing.lanes import task_name
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import EnvironmentSettings, Settings, read
from forebay.routing.store.connection import connect, reaching_redis, without_password
from forebay.workers.runtime.drain import WEDGED, Drain, impatient, leave_at_once
from forebay.workers.runtime.execute import Outcome, TaskResult, answer
from forebay.workers.runtime.heartbeat import Heartbeat
from forebay.workers.runtime.in_flight import InFlight
from forebay.workers.runtime.liveness import EVERY_S, Liveness
from forebay.workers.runtime.settings import ActorSettings

log = logging.getLogger(__name__)
SHOWN_CHARS = 20_000  # of a task's result in logs and Flower: the receipts of all its jobs
T = TypeVar("T", bound=EnvironmentSettings)


def settings_of(cls: type[T]) -> T:
    """Settings for a worker; a wrong one ends the process with one line, not a traceback."""
    try:
        return read(cls)
    except ForebayError as error:
        give_up(error)


def give_up(error: ForebayError) -> NoReturn:
    """End this worker with the reason on one line: exit code 2 if it is the operator's to mend."""
    sys.stderr.write(f"forebay: {error.code}: {error}\n")
    sys.stderr.flush()
    os._exit(2 if isinstance(error, CallerError) else 1)


class Worker(Protocol):
    """What works the jobs of an actor's queues; made when the Celery worker starts."""

    def work(self, claim: Claim, /) -> Outcome:
        """Work one job. Called from as many threads as the actor has."""

    def close(self) -> None:
        """The Celery worker has stopped."""


class Actor:
    """A kind of worker.

    1. Makes the Celery application that consumes its queues.
    2. Makes its worker when Celery starts, and ends with one line where that cannot be.
    3. Answers each doorbell with `execute.answer`.
    4. Says every other second that it is here, as long as it takes jobs.
    5. Leaves in order when it is told to, or when it finds that it takes none any more.
    """

    def __init__(
        self,
        queues: Sequence[str],
        make: Callable[[Ledger], Worker],
        *,
        pool: str,
        concurrency: int,
    ) -> None:
        self.settings = settings_of(Settings)
        self.queues = queues
        try:
            client, brisk = connect(self.settings), connect(self.settings, brisk=True)
            self.app: Celery = celery_app(self.settings, queues)
            bell = template(self.app)
            self.ledger = Ledger(client, self.settings, bell)
            self._brisk = Ledger(brisk, self.settings, bell)
        except ForebayError as error:
            give_up(error)
        self.app.conf.update(worker_pool=pool, worker_concurrency=concurrency)
        self._make = make
        self._worker: Worker | None = None
        own = settings_of(ActorSettings)
        self._hands = InFlight(concurrency)
        self._liveness = Liveness(own, self._hands, self._hanging, self._wedged)
        well = self._liveness
        self._presence = Heartbeat(self._brisk, self._consumed, lambda: well.well)
        self._drain = Drain(self._brisk, self._hands, own.grace_s, self._presence.stop)
        self._take_part()

    def _take_part(self) -> None:
        """Have Celery call us."""
        for queue in self.queues:
            self.app.task(
                self._answering(queue), name=task_name(queue), typing=False,
                resultrepr_maxsize=SHOWN_CHARS,
            )  # fmt: skip
        self.app.steps["consumer"].add(_beating(self._liveness.beat))
        setup_logging.connect(_log_quietly, weak=False)
        worker_init.connect(self._start, weak=False)
        worker_ready.connect(self._ready, weak=False)
        worker_shutting_down.connect(self._leave, weak=False)
        worker_shutdown.connect(self._stop, weak=False)

    def _answering(self, queue: str) -> Callable[[], TaskResult | list[TaskResult] | None]:
        def answer_doorbell() -> TaskResult | list[TaskResult] | None:
            assert self._worker is not None, "Celery starts the worker before its tasks"
            if not self._hands.answer():  # another worker hears the sweeper ring again
                return None
            return answer(self.ledger, queue, self._worker.work, self._hands)

        return answer_doorbell

    def _start(self, **_: Any) -> None:
        _log_quietly(logging.INFO)  # Celery calls it later, with the level it was given
        self._drain.start()
        while self._worker is None:
            _await(self._brisk)
            try:
                self._worker = self._make(self.ledger)
            except ForebayError as error:
                if _reachable(self._brisk):  # else Redis went away meanwhile: wait for it again
                    give_up(error)

    def _ready(self, sender: Any, **_: Any) -> None:
        signal.signal(signal.SIGQUIT, leave_at_once)  # Celery's would wait for what hangs
        self._hands.slots = sender.controller.concurrency
        self._liveness.start()
        self._presence.start()

    def _leave(self, **_: Any) -> None:
        """Called in Celery's signal handler."""
        impatient()
        self._drain.begin()

    def _stop(self, **_: Any) -> None:
        self._presence.stop()
        if self._worker is not None:
            self._worker.close()

    def _consumed(self) -> list[str]:
        """The queues that Celery consumes here: `-Q` and remote control choose among ours."""
        return [queue for queue in self.queues if queue in self.app.amqp.queues.consume_from]

    def _hanging(self) -> int:
        """Doorbells that hang in those queues."""
        with reaching_redis(), self._brisk.redis.pipeline(transaction=False) as pipe:
            for queue in self._consumed():
                pipe.llen(queue)
            return sum(pipe.execute())

    def _wedged(self, reason: str) -> None:
        log.error("wedged: %s; leaving with exit code %d", reason, WEDGED)
        self._drain.begin(WEDGED)


def _beating(beat: Callable[[], None]) -> type[StartStopStep]:
    """A step of Celery's consumer that is called from within its loop, of each connection anew."""

    class Beating(StartStopStep):  # type: ignore[misc] # Celery has no types
        def register_with_event_loop(self, _consumer: Any, hub: Any) -> None:
            hub.call_repeatedly(EVERY_S, beat)

    return Beating


def _await(ledger: Ledger) -> None:
    """Return when Redis can be reached; a worker may be started before it."""
    if not _reachable(ledger):
        where = without_password(ledger.settings.redis_url)
        log.warning("waiting: Redis cannot be reached at %s", where)
    while not _reachable(ledger):
        time.sleep(1)


def _reachable(ledger: Ledger) -> bool:
    try:
        with reaching_redis():
            ledger.redis.ping()
    except Unavailable:
        return False
    return True


def _log_quietly(loglevel: int = logging.WARNING, **_: Any) -> None:
    logs.to_stderr(loglevel or logging.INFO)
