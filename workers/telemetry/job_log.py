"""A log line for every step of a job that this worker takes, and for those that a sweep takes."""

from __future__ import annotations

import logging

from forebay.routing.jobs import Receipt
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import Record
from forebay.routing.logs import Event
from forebay.workers.runtime.outcomes import Deferred, Escalated, Recorded, Retry, Routed
from forebay.workers.telemetry.job_lines import Fields, JobLines

_INFO, _WARNING = logging.INFO, logging.WARNING
_ENDS = {
    "done": Event.JOB_ANSWERED,
    "expired": Event.JOB_EXPIRED,
    "cancelled": Event.JOB_CANCELLED,
}


class JobLog:
    """Logs what becomes of each job: a dead job and a recovered lease as warnings."""

    def __init__(self) -> None:
        self._say = JobLines(logging.getLogger(__name__)).say

    def started(self, _claim: Claim, /) -> None:
        """Log nothing: the outcome follows, or the lease runs out."""

    def finished(self, claim: Claim, recorded: Recorded, /) -> None:
        """Log how the job stands now."""
        record, say = claim.record, self._say
        match recorded.outcome:
            case _ if recorded.receipt is not None:
                self._say_end(record, recorded.receipt)
            case Routed(queue, reason=reason):
                say(_INFO, Event.JOB_ROUTED, record, f"to {queue}: {reason}")
            case Escalated(reason):
                say(_INFO, Event.JOB_ESCALATED, record, f"to bedrock: {reason}")
            case Retry(code, delay_s=delay_s):
                say(_INFO, Event.JOB_RETRIED, record, f"{code}, again in {delay_s:.1f} s")
            case Deferred():
                say(_INFO, Event.JOB_DEFERRED, record, "waits for a batch")
            case _ if recorded.state == "cancelled":
                say(_INFO, Event.JOB_CANCELLED, record, "cancelled while it was worked")
            case _:
                say(_INFO, Event.JOB_LOST, record, "not this worker's any more")

    def swept(self, record: Record, /) -> None:
        """Log a job that a sweep gave back or ended."""
        if record.state == "waiting":
            message = f"its worker died or stalled; it waits again in {record.queue}"
            self._say(_WARNING, Event.LEASE_RECOVERED, record, message)
        else:
            self._say_end(record, record.to_receipt())

    def _say_end(self, record: Record, receipt: Receipt) -> None:
        if receipt.status == "failed":
            why = ": ".join(filter(None, [receipt.error, receipt.error_field, receipt.error_note]))
            self._say(_WARNING, Event.JOB_DEAD, record, why, (("code", receipt.error),))
            return
        name = Event.JOB_AUDITED if receipt.reason == "audit" else _ENDS[receipt.status]
        made: Fields = (("model", receipt.model), ("cost_usd", receipt.cost_usd))
        made += (("stand_in", True),) if receipt.stand_in else ()
        self._say(
            _INFO, name, record, receipt.reason or receipt.status, made if receipt.model else ()
        )
