"""Job hooks: the seam where metrics, traces and logs observe jobs without changing them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import Record
from forebay.routing.logs import Event, event, place
from forebay.workers.runtime.outcomes import Recorded

log = logging.getLogger(__name__)


class JobHook(Protocol):
    """Observes the jobs of one worker process; passed to its `Actor(hooks=...)`.

    1. `started` and `finished` are each called once for every claimed job, in this order, from the
       thread that works the job. Several threads call them at the same time.
    2. A hook that raises is logged by type and place; the job goes on as if it had not.
    3. The job waits for the hook, so a hook returns at once.
    4. Claims and outcomes may hold content, which a hook must not pass on. A receipt holds none.
    """

    def started(self, claim: Claim, /) -> None:
        """Observe a job that was claimed; its work begins now."""

    def finished(self, claim: Claim, recorded: Recorded, /) -> None:
        """Observe how the job stands after its outcome was recorded; `lost` if nothing was."""


class Observer(JobHook, Protocol):
    """A job hook that also observes jobs which no worker holds, because a sweep moved them."""

    def swept(self, record: Record, /) -> None:
        """Observe a job after a sweep: it waits again, as its lease had run out, or it ended.

        A job that was cancelled while it waited is observed here too.
        """


def notify_started(hooks: Iterable[JobHook], claim: Claim) -> None:
    """Tell every hook that a job was claimed."""
    _notify(hooks, "started", claim)


def notify_finished(hooks: Iterable[JobHook], claim: Claim, recorded: Recorded) -> None:
    """Tell every hook what became of a job."""
    _notify(hooks, "finished", claim, recorded)


def notify_swept(hooks: Iterable[Observer], record: Record) -> None:
    """Tell every hook what a sweep did to a job."""
    _notify(hooks, "swept", record)


def _notify(hooks: Iterable[JobHook], method: str, *of: object) -> None:
    for hook in hooks:
        try:
            getattr(hook, method)(*of)
        except Exception as error:  # noqa: BLE001 - an observer must not break the job or the sweep
            _log_defect(hook, error)


def _log_defect(hook: JobHook, error: Exception) -> None:
    """Log what a hook raised, also if it lacks the method; the message may hold content."""
    log.error(
        "hook %s raised %s at %s",
        type(hook).__qualname__,
        type(error).__name__,
        place(error),
        extra=event(Event.WORKER_HOOK),
    )
