"""Submitting with patience: jobs that Redis cannot take now are offered again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import count
from typing import Any

from redis.backoff import EqualJitterBackoff

from forebay.producers.handles import JobHandle, answer_model_of
from forebay.producers.options import passed_deadline
from forebay.producers.results import Result, Submitted
from forebay.producers.wakeups import Wakeups
from forebay.routing.errors import ForebayError, Unavailable
from forebay.routing.jobs import Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings

MIN_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0  # pauses between tries double, with jitter


class PatientSubmitter:
    """Puts jobs on the ledger, and tries again for at most `patience` seconds.

    A job keeps its id between tries. So a job that Redis took in, and whose reply got lost, is not
    taken in twice. Without patience a refusal is an error at once.
    """

    def __init__(self, ledger: Ledger, patience: float = 0.0) -> None:
        self._ledger = ledger
        self._patience = patience
        self._pauses = EqualJitterBackoff(cap=MAX_PAUSE_S, base=MIN_PAUSE_S)

    def create(self, jobs: Sequence[Job], watcher: str = "") -> list[str | ForebayError]:
        """Return the id of each job, or the error that refused it; see `Ledger.create`.

        Raises:
            Unavailable: Redis could not be reached at the last try. A try that is under way when
                the patience ends is not cut short.
        """
        end = time.monotonic() + self._patience
        created: dict[str, str | ForebayError] = {}
        remaining = list(jobs)
        for tries in count(1):
            pause_s = min(self._pauses.compute(tries), end - time.monotonic())
            try:
                replies = self._ledger.create(remaining, watcher)
            except Unavailable:
                if pause_s <= 0:
                    raise
            else:
                created |= {job.id: reply for job, reply in zip(remaining, replies, strict=True)}
                remaining = [job for job in remaining if isinstance(created[job.id], Unavailable)]
            if not remaining or pause_s <= 0:
                break
            time.sleep(pause_s)
        return [created[job.id] for job in jobs]


def submit_watched(
    jobs: list[Job], submitter: PatientSubmitter, wakeups: Wakeups
) -> list[Submitted[Any] | ForebayError]:
    """Submit jobs, and return each one's id and future, or the error that refused it."""
    refusals = [passed_deadline(job) for job in jobs]
    timely = [job for job, refusal in zip(jobs, refusals, strict=True) if refusal is None]
    with wakeups.creating(timely) as futures:
        created = submitter.create(timely, wakeups.stream) if timely else []
    submitted = (
        _watched(job, reply, futures[job.id], wakeups)
        for job, reply in zip(timely, created, strict=True)
    )
    return [refusal or next(submitted) for refusal in refusals]


def _watched(
    job: Job, reply: str | ForebayError, future: Future[Result], wakeups: Wakeups
) -> Submitted[Any] | ForebayError:
    if isinstance(reply, ForebayError):
        future.cancel()
        reply.job_id = reply.job_id or job.id
        return reply
    handle: JobHandle[Any] = JobHandle(reply, answer_model_of(job))
    if reply != job.id:  # the first job under the idempotency key
        future.cancel()
        future = wakeups.watch(handle)
    return handle, future


def doorbell(settings: Settings) -> str:
    """Return the doorbell's template."""
    # Importing Celery takes half a second, and only submits need it.
    from forebay.routing.broker.app import celery_app  # noqa: PLC0415
    from forebay.routing.broker.doorbell import template  # noqa: PLC0415

    return template(celery_app(settings))
