"""A log line for every step of a job that this worker takes, and for those that a sweep takes."""

from __future__ import annotations

import logging
from typing import Any

from forebay.routing.jobs import Receipt
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import Record
from forebay.routing.logs import Event, event
from forebay.workers.runtime.outcomes import Deferred, Escalated, Recorded, Retry, Routed

log = logging.getLogger(__name__)

_ENDS = {
    "done": Event.JOB_ANSWERED,
    "expired": Event.JOB_EXPIRED,
    "cancelled": Event.JOB_CANCELLED,
}


class JobLog:
    """Logs what becomes of each job: a dead job and a recovered lease as warnings."""

    def started(self, _claim: Claim, /) -> None:
        """Log nothing: the outcome follows, or the lease runs out."""

    def finished(self, claim: Claim, recorded: Recorded, /) -> None:
        """Log how the job stands now."""
        about = _about(claim.record)
        match recorded.outcome:
            case _ if recorded.receipt is not None:
                _log_end(recorded.receipt, about)
            case Routed(queue, reason=reason):
                log.info("to %s: %s", queue, reason, extra=event(Event.JOB_ROUTED, **about))
            case Escalated(reason):
                log.info("to bedrock: %s", reason, extra=event(Event.JOB_ESCALATED, **about))
            case Retry(code, delay_s=delay_s):
                log.info(
                    "%s, again in %.1f s", code, delay_s, extra=event(Event.JOB_RETRIED, **about)
                )
            case Deferred():
                log.info("waits for a batch", extra=event(Event.JOB_DEFERRED, **about))
            case _ if recorded.state == "cancelled":
                log.info("cancelled while it was worked", extra=event(Event.JOB_CANCELLED, **about))
            case _:
                log.info("not this worker's any more", extra=event(Event.JOB_LOST, **about))

    def swept(self, record: Record, /) -> None:
        """Log a job that a sweep gave back or ended."""
        if record.state == "waiting":
            log.warning(
                "its worker died or stalled; it waits again in %s", record.queue,
                extra=event(Event.LEASE_RECOVERED, **_about(record)),
            )  # fmt: skip
        else:
            _log_end(record.to_receipt(), _about(record))


def _about(record: Record) -> dict[str, Any]:
    return {
        "job": record.id, "kind": record.kind, "lane": record.hop, "attempts": record.attempts,
    }  # fmt: skip


def _log_end(receipt: Receipt, about: dict[str, Any]) -> None:
    if receipt.status == "failed":
        why = ": ".join(filter(None, [receipt.error, receipt.error_field, receipt.error_note]))
        log.warning("%s", why, extra=event(Event.JOB_DEAD, **about, code=receipt.error))
        return
    name = Event.JOB_AUDITED if receipt.reason == "audit" else _ENDS[receipt.status]
    about |= {"model": receipt.model, "cost_usd": receipt.cost_usd} if receipt.model else {}
    log.info("%s", receipt.reason or receipt.status, extra=event(name, **about))
