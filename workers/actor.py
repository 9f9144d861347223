"""What the actors have in common: a Celery worker that answers doorbells from the ledger.

Celery stays at the rim: a task takes no arguments, claims the best job of its queue, and returns
the few words of a receipt. Settings are read here, once, when the worker's module is loaded.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown
from pydantic_settings import BaseSettings

from routing.app import celery_app
from routing.connection import connect
from routing.doorbell import template
from routing.errors import CallerError, ForebayError
from routing.lanes import task_name
from routing.ledger import Claim, Ledger
from routing.settings import Settings, read
from workers.execute import Outcome, execute
from workers.presence import Presence

log = logging.getLogger(__name__)
T = TypeVar("T", bound=BaseSettings)


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
    3. Answers each doorbell with `execute`.
    4. Says every other second that it is here, as long as it is.
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
        self.app: Celery = celery_app(self.settings, queues)
        self.app.conf.update(worker_pool=pool, worker_concurrency=concurrency)
        try:
            client = connect(self.settings)
        except ForebayError as error:
            give_up(error)
        self.ledger = Ledger(client, self.settings, template(self.app))
        self._make = make
        self._worker: Worker | None = None
        self._presence: Presence | None = None
        for queue in queues:
            self.app.task(self._answering(queue), name=task_name(queue), typing=False)
        setup_logging.connect(_log_quietly, weak=False)
        worker_init.connect(self._start, weak=False)
        worker_ready.connect(self._ready, weak=False)
        worker_shutdown.connect(self._stop, weak=False)

    def _answering(self, queue: str) -> Callable[[], dict[str, Any] | None]:
        def answer_doorbell() -> dict[str, Any] | None:
            assert self._worker is not None, "Celery starts the worker before its tasks"
            return execute(self.ledger, queue, self._worker.work)

        return answer_doorbell

    def _start(self, **_: Any) -> None:
        try:
            self._worker = self._make(self.ledger)
        except ForebayError as error:
            give_up(error)

    def _ready(self, **_: Any) -> None:
        name = f"{socket.gethostname()}.{os.getpid()}"
        self._presence = Presence(self.ledger, name, self.queues)
        self._presence.start()

    def _stop(self, **_: Any) -> None:
        if self._presence is not None:
            self._presence.stop()
        if self._worker is not None:
            self._worker.close()


def _log_quietly(loglevel: int = logging.WARNING, **_: Any) -> None:
    """Log to stderr in one form; libraries below WARNING stay silent, whatever they would say."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in ("workers", "routing", "celery"):
        logging.getLogger(name).setLevel(loglevel or logging.INFO)
