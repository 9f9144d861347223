"""Waiting for an answer on the command line, with progress on stderr; and giving the wait up."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from forebay.routing.jobs import Answer, JobStatus

if TYPE_CHECKING:
    from forebay.producers.client import Client

#: Seconds between two status reads. The answer itself is not polled for.
STATUS_EVERY_S = 0.5

Report = Callable[[JobStatus], None]


def await_answer(client: Client, job_id: str, *, timeout: float | None, report: Report) -> Answer:
    """Return the job's answer; until then pass its status to `report`.

    Args:
        client: reads the job's status and answer.
        job_id: the id of a submitted job.
        timeout: seconds; 0 looks once, `None` waits as long as it takes.
        report: called about twice a second.

    Raises:
        TimeoutError: The job did not end in time. It is still being worked on.
        ForebayError: The job failed.
    """
    end = float("inf") if timeout is None else time.monotonic() + timeout
    ended = client.future(job_id)
    while True:
        left_s = max(0.0, end - time.monotonic())
        if futures.wait([ended], min(STATUS_EVERY_S, left_s)).done:
            return client.result(job_id)
        status = client.status(job_id)
        if left_s <= STATUS_EVERY_S:
            raise TimeoutError(f"not ended yet: {describe(status)}")
        report(status)


@contextmanager
def leaving(
    client: Client, job_id: str, note: Callable[[str], None], *, cancels: bool
) -> Iterator[None]:
    """Decide what becomes of the job if the user, or a signal, ends the wait in this block.

    Args:
        client: cancels the job.
        job_id: the job that is waited for.
        note: prints a line for people.
        cancels: cancel the job, also if the wait takes too long. Otherwise Ctrl-C asks on a
            terminal, and elsewhere the job goes on.
    """
    try:
        with interrupted_by(*((signal.SIGTERM, signal.SIGHUP) if cancels else ())):
            yield
    except (KeyboardInterrupt, TimeoutError) as error:
        asks = isinstance(error, KeyboardInterrupt) and not cancels
        if cancels or (asks and _wants_to_cancel(job_id)):
            note(f"job {job_id} {'is cancelled' if client.cancel(job_id) else 'had ended'}")
        elif asks:
            note(f"job {job_id} goes on; `forebay result {job_id} --wait` waits for it again")
        raise


@contextmanager
def interrupted_by(*signals: signal.Signals) -> Iterator[None]:
    """Have these signals interrupt the block as Ctrl-C does; `nohup` still ignores what it does."""
    before = {each: signal.getsignal(each) for each in signals}
    heeded = {each: known for each, known in before.items() if known is not signal.SIG_IGN}
    try:
        for each in heeded:
            signal.signal(each, signal.default_int_handler)
        yield
    finally:
        for each, known in heeded.items():
            signal.signal(each, known)


def _wants_to_cancel(job_id: str) -> bool:
    """Ask on a terminal; no answer, or Ctrl-C once more, means no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return typer.confirm(f"\nCancel job {job_id}? Otherwise it goes on.", err=True)
    except typer.Abort:
        return False


def describe(status: JobStatus) -> str:
    """Return where a job is, in one line."""
    age = f"{status.age_s:.0f} s old"
    if status.receipt is not None:
        why = ": ".join(filter(None, (status.receipt.error, status.receipt.error_note)))
        return f"{status.state}{f' ({why})' if why else ''}, {age}"
    if not status.served:
        return f"no worker serves {status.queue}, {status.depth} waiting, {age}"
    if status.state == "waiting" and status.position is not None:
        return f"waiting for {status.queue}, {status.position + 1} of {status.depth}, {age}"
    if status.state == "waiting" and status.error:
        why = f"after {status.error} (`forebay explain` says more)"
        return f"waiting for a retry in {status.queue} {why}, {age}"
    return f"{status.state} in {status.queue}, attempt {status.attempts}, {age}"


@contextmanager
def progress(warn: Callable[[str], None]) -> Iterator[Report]:
    """Yield a reporter that shows the status as a live line on stderr.

    If stderr is not a terminal, the reporter only calls `warn`, once for each unserved queue.
    """
    from rich.console import Console  # noqa: PLC0415 - 80 ms, and few commands wait

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _warn_once(warn)
        return
    with console.status("submitted") as line:
        yield lambda status: line.update(f"[bold]{status.id}[/] {describe(status)}")


def _warn_once(warn: Callable[[str], None]) -> Report:
    warned: set[str] = set()

    def report(status: JobStatus) -> None:
        if not status.served and status.queue not in warned:
            warned.add(status.queue)
            warn(f"no worker serves {status.queue}")

    return report
