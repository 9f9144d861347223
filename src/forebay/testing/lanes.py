"""The lanes of a fleet in one process: threads that hear the doorbells which Celery would hear."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis

from forebay.routing.errors import ForebayError
from forebay.routing.logs import Event, event
from forebay.routing.store.connection import reaching_redis

log = logging.getLogger(__name__)

THREADS = 8
STOP = "fb:testing:stop"  # a list whose entry ends the listener
LISTEN_S = 5  # well below the time-out of a connection for work


class Lanes:
    """Answers the doorbells of some queues.

    One thread takes doorbells from the queues' lists, as Celery does. For each doorbell a thread of
    a pool claims a job, works it and records its outcome.

    Args:
        client: a connection of this object's own.
        answers: what answers a doorbell, by queue.
    """

    def __init__(self, client: redis.Redis, answers: Mapping[str, Callable[[], object]]) -> None:
        self._redis = client
        self._answers = answers
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="forebay-lane")
        self._listener = threading.Thread(target=self._listen, name="forebay-doorbells")
        self._listener.start()

    def close(self) -> None:
        """Stop listening, and wait for the jobs that are being worked."""
        self._redis.lpush(STOP, "stop")
        self._listener.join()
        self._pool.shutdown(cancel_futures=True)

    def _listen(self) -> None:
        queue = ""
        while queue != STOP:
            if queue:
                self._pool.submit(self._answer, queue)
            try:
                with reaching_redis():
                    doorbell: Any = self._redis.blpop([STOP, *self._answers], timeout=LISTEN_S)
            except ForebayError as error:
                log.warning("the fleet stops: %s", error, extra=event(Event.TESTING_STOPPED))
                return
            queue = doorbell[0].decode() if doorbell else ""

    def _answer(self, queue: str) -> None:
        try:
            self._answers[queue]()
        except ForebayError as error:
            log.warning(
                "a job of %s was not concluded: %s", queue, error, extra=event(Event.JOB_UNRECORDED)
            )
