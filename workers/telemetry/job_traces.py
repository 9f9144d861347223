"""The spans of jobs: one for each stay with a worker, and one for the whole life of a job.

All of a job's spans are in one trace, whose traceparent is in the job's record: a Celery message
carries none. What a worker does inside, such as a call to Bedrock, is a span of its own
(`forebay.routing.tracing.spans`) below the worker's.
"""

from __future__ import annotations

import threading
from typing import Any

from celery.signals import worker_init

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Receipt
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import Record
from forebay.routing.tracing import exporting, spans
from forebay.routing.tracing.sampling import sampling
from forebay.routing.tracing.traceparent import of_job
from forebay.workers.runtime.outcomes import Escalated, Outcome, Recorded, Retry, Routed
from forebay.workers.runtime.start_up import give_up

MS_NS = 1_000_000


class JobTraces:
    """Records the spans of each sampled job that this worker works or ends."""

    def __init__(self) -> None:
        self._open: dict[str, spans.Span] = {}
        self._here = _Here()
        worker_init.connect(self._start, weak=False)

    def started(self, claim: Claim, /) -> None:
        """Begin the span of a claim, in the thread that works it."""
        record, here = claim.record, self._here
        if not sampling().wants(record.id, record.traceparent):
            if not here.skips:
                here.skip()
            return
        self._open[claim.token] = spans.begin(
            f"forebay.{record.hop}", kind="consumer", parent=of_job(record.id, record.traceparent),
            **_about(record), forebay__queued_ms=record.queued_ms,
        )  # fmt: skip
        here.skips = False
        here.open += 1
        if here.open > 1:  # jobs that are worked together; what is done inside is of no one
            here.skip()

    def finished(self, claim: Claim, recorded: Recorded, /) -> None:
        """End the span of the claim, and record the job's whole life if it has ended."""
        if not self._open:
            return
        span = self._open.pop(claim.token, None)
        if span is None:
            return
        code, reason = _why(recorded.outcome)
        receipt = recorded.receipt
        span.set(
            forebay__outcome=type(recorded.outcome).__name__.lower(),
            forebay__state=recorded.state, forebay__reason=reason or None,
        )  # fmt: skip
        if code or (receipt and receipt.error):
            span.fail(code or (receipt and receipt.error) or "")
        span.end()
        self._here.open -= 1
        self._here.skip()
        if receipt is not None:
            _record_life(claim.record, receipt)

    def swept(self, record: Record, /) -> None:
        """Record the life of a job that a sweep ended."""
        if record.state != "waiting" and sampling().wants(record.id, record.traceparent):
            _record_life(record, record.to_receipt())

    def _start(self, sender: Any, **_: Any) -> None:
        """Set up the export under Celery's name of this worker."""
        try:
            exporting.start("forebay-worker", sender.hostname)
        except Misconfigured as error:
            give_up(error)


class _Here(threading.local):
    """What this thread traces.

    Attributes:
        open: how many claims it works whose spans are open.
        skips: no spans are recorded in it now. A job that is not sampled asks for no more.
    """

    open = 0
    skips = False

    def skip(self) -> None:
        """Record no spans in this thread until a sampled job begins."""
        spans.skip()
        self.skips = spans.tracing()


def _record_life(record: Record, receipt: Receipt) -> None:
    """Record the span from the submit of a job to its end."""
    spans.record(
        "forebay.job", record.created * MS_NS, parent=of_job(record.id, record.traceparent),
        error=receipt.error, **_about(record), forebay__state=receipt.status,
        forebay__answered_by=receipt.lane, gen_ai__response__model=receipt.model,
        gen_ai__usage__input_tokens=receipt.tokens_in,
        gen_ai__usage__output_tokens=receipt.tokens_out,
        forebay__cost_usd=receipt.cost_usd, forebay__degraded=receipt.degraded,
        forebay__stand_in=receipt.stand_in or None, forebay__cached=receipt.cached,
        forebay__reason=receipt.reason or None,
    )  # fmt: skip


def _about(record: Record) -> dict[str, str | int]:
    return {
        "forebay__job": record.id, "forebay__tenant": record.tenant,
        "forebay__kind": record.kind, "forebay__egress": record.egress,
        "forebay__queue": record.queue, "forebay__attempts": record.attempts,
    }  # fmt: skip


def _why(outcome: Outcome) -> tuple[str, str]:
    """Return the code of the error that an outcome tells of, and its reasons."""
    match outcome:
        case Routed(reason=reason) | Escalated(reason):
            return "", reason
        case Retry(code):
            return code, ""
    return "", ""
