"""Waiting for an answer on the command line, with a word about it to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol

from forebay.routing.jobs import Answer, JobStatus

#: Seconds between two looks at where the job is. The answer itself is not polled for.
LOOK_S = 0.5

Say = Callable[[JobStatus], None]


class Waits(Protocol):
    """What is needed of a client."""

    def future(self, job_id: str) -> Future[Any]:
        """See `Client.future`."""

    def result(self, job_id: str, timeout: float | None = None) -> Answer:
        """See `Client.result`."""

    def status(self, job_id: str) -> JobStatus:
        """See `Client.status`."""


def await_answer(client: Waits, job_id: str, *, timeout: float | None, say: Say) -> Answer:
    """The answer; meanwhile `say` hears where the job is.

    Args:
        client: is asked where the job is, and what it ended with.
        job_id: of a submitted job.
        timeout: seconds; 0 looks once, None waits for as long as it takes.
        say: called about twice a second.

    Raises:
        TimeoutError: It was not answered in time; it is still being worked on.
        ForebayError: What the job ended with.
    """
    end = float("inf") if timeout is None else time.monotonic() + timeout
    ended = client.future(job_id)
    while True:
        left = max(0.0, end - time.monotonic())
        if futures.wait([ended], min(LOOK_S, left)).done:
            return client.result(job_id)
        status = client.status(job_id)
        if left <= LOOK_S:
            raise TimeoutError(f"not ended yet: {describe(status)}")
        say(status)


def describe(status: JobStatus) -> str:
    """Where a job is, in one line."""
    age = f"{status.age_s:.0f} s old"
    if status.receipt is not None:
        return f"{status.state}, {age}"
    if not status.served:
        return f"no worker serves {status.queue}, {status.depth} waiting, {age}"
    if status.state == "waiting" and status.position is not None:
        return f"waiting for {status.queue}, {status.position + 1} of {status.depth}, {age}"
    return f"{status.state} in {status.queue}, attempt {status.attempts}, {age}"


@contextmanager
def progress(warn: Callable[[str], None]) -> Iterator[Say]:
    """A live line on a terminal's stderr.

    Where stderr is no terminal, only a queue that nobody serves is told of, once, by `warn`.
    """
    from rich.console import Console  # noqa: PLC0415 - 80 ms, and few commands wait

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _quiet(warn)
        return
    with console.status("submitted") as line:
        yield lambda status: line.update(f"[bold]{status.id}[/] {describe(status)}")


def _quiet(warn: Callable[[str], None]) -> Say:
    told: set[str] = set()

    def say(status: JobStatus) -> None:
        if not status.served and status.queue not in told:
            told.add(status.queue)
            warn(f"no worker serves {status.queue}")

    return say
