"""Each job's life as Celery task events, so that Flower and every other monitor shows jobs.

A doorbell's own events would say that a bell was rung. So the doorbell tasks send none, and this
hook sends one life for each job: the uuid is the job's id, the name its kind, and the arguments are
its tenant, egress and lane. Events hold receipts and never content. docs/events.md lists them.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache
from operator import attrgetter
from typing import Any

from celery.signals import worker_ready, worker_shutdown

from forebay.routing.errors import gist
from forebay.routing.jobs import Receipt
from forebay.routing.lanes import hop_of
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import Record
from forebay.workers.runtime.outcomes import Deferred, Escalated, Recorded, Retry, Routed
from forebay.workers.telemetry.outbox import Outbox

#: The fields of a receipt that a monitor shows, the most telling first.
SHOWN = (
    "error", "error_field", "lane", "model", "degraded", "cached", "tokens_in", "tokens_out",
    "cost_usd", "stand_in", "attempts", "queued_s", "worked_s",
)  # fmt: skip


class CeleryEvents:
    """Sends the life of each job that this worker works or ends.

    1. `task-sent` once the router has chosen a lane: the job waits there.
    2. `task-received` and `task-started` when a lane's worker begins with it.
    3. `task-retried` when it goes back to a queue, or to another lane; the exception says why.
    4. `task-succeeded` with the receipt, `task-failed` with the code and the receipt, or
       `task-revoked` if it expired or was cancelled.
    """

    def __init__(self) -> None:
        self._outbox = Outbox()
        self._begun: dict[str, float] = {}
        worker_ready.connect(self._start, weak=False)
        worker_shutdown.connect(self._stop, weak=False)

    def started(self, claim: Claim, /) -> None:
        """Tell that a lane's worker took the job. The router's work is not worth an event."""
        if claim.record.hop == "route":
            return
        self._begun[claim.token] = time.monotonic()
        self._outbox.put("task-received", task_of(claim.record))
        self._outbox.put("task-started", {"uuid": claim.id})

    def finished(self, claim: Claim, recorded: Recorded, /) -> None:
        """Tell what became of the job."""
        runtime = time.monotonic() - self._begun.pop(claim.token, time.monotonic())
        if recorded.state == "waiting":
            self._moved(recorded.outcome, claim.record)
        elif recorded.receipt is not None:
            self._ended(claim.record, recorded.receipt, runtime=runtime)
        elif recorded.state == "cancelled":
            self._outbox.put("task-revoked", brief(claim.record), **_revoked(expired=False))

    def swept(self, record: Record, /) -> None:
        """Tell what a sweep did to a job: its lease had run out, or its deadline had passed."""
        if record.state == "waiting":
            self._retried(record, "lease ran out: its worker died or stalled")
        else:
            self._ended(record, record.to_receipt(), runtime=record.worked_ms / 1000)

    def _moved(self, outcome: object, record: Record) -> None:
        """Tell that a job waits again, in a queue of its lane or of another."""
        match outcome:
            case Routed(queue) if record.hop == "route":
                task, created_s = task_of(record, queue), record.created / 1000
                self._outbox.put("task-sent", task, queue=queue, timestamp=created_s)
            case Routed(queue, reason=reason):
                self._retried(record, f"to {queue}: {reason}")
            case Escalated(reason):
                self._retried(record, f"to bedrock: {reason}")
            case Deferred():
                self._retried(record, "waits for a batch on Bedrock")
            case Retry(code):
                self._retried(record, _why(code))

    def _retried(self, record: Record, why: str) -> None:
        # A monitor that hears of it after the next attempt has ended would show a retry for ever.
        self._outbox.put_first("task-retried", brief(record), exception=why)

    def _ended(self, record: Record, receipt: Receipt, *, runtime: float) -> None:
        """Tell how a job ended."""
        task, shown = brief(record), receipt_text(receipt)
        if receipt.status == "done":  # and no longer what an earlier attempt had met
            self._outbox.put("task-succeeded", task, result=shown, runtime=runtime, exception=None)
        elif receipt.status == "failed":
            self._outbox.put(
                "task-failed", task, exception=_why(receipt.error or "failed", receipt.error_note),
                traceback=shown, result=shown, runtime=runtime,
            )  # fmt: skip
        else:
            expired = receipt.status == "expired"
            self._outbox.put("task-revoked", task, **_revoked(expired=expired))

    def _start(self, sender: Any, **_: Any) -> None:
        self._outbox.start(sender.app, sender.hostname)

    def _stop(self, **_: Any) -> None:
        self._outbox.close()


def _revoked(*, expired: bool) -> dict[str, Any]:
    return {"terminated": not expired, "signum": None, "expired": expired}


def _why(code: str, note: str | None = None) -> str:
    return ": ".join(filter(None, [code, note or gist(code)]))


def brief(record: Record, queue: str = "") -> dict[str, Any]:
    """Return the fields by which a monitor knows a job, as a task in a queue or in its own."""
    tenant, lane = record.tenant, hop_of(queue or record.queue)
    return {
        "uuid": record.id, "name": record.kind, "args": _arguments(tenant, record.egress, lane)
    }  # fmt: skip


@lru_cache(maxsize=1024)
def _arguments(*of_job: str) -> str:
    return repr(of_job)


def task_of(record: Record, queue: str = "") -> dict[str, Any]:
    """Return all fields by which a monitor knows a job."""
    return {
        **brief(record, queue), "kwargs": "{}", "retries": max(0, record.attempts - 1),
        **_origin(record.replay_of),
    }  # fmt: skip


def _origin(replay_of: str | None) -> dict[str, str]:
    """Return the job that a replay repeats, as a monitor shows where a task comes from."""
    return {"root_id": replay_of, "parent_id": replay_of} if replay_of else {}


def receipt_text(receipt: Receipt) -> str:
    """Return what a monitor shows of a receipt, as JSON without what is empty."""
    return _shown_text(receipt.reasons, *_shown(receipt))


_shown = attrgetter(*SHOWN)


@lru_cache(maxsize=1024)  # many receipts say the same: a worker knows no times of the ledger
def _shown_text(reasons: tuple[str, ...], *values: object) -> str:
    shown = {name: value for name, value in zip(SHOWN, values, strict=True) if value}
    return json.dumps({"reasons": reasons, **shown})
