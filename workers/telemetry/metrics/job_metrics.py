"""Metrics of the jobs that this worker works. docs/metrics.md explains each."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, Gauge

from forebay.routing.errors import EgressDenied
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.lanes import BEDROCK, Hop, hop_of
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import Record
from forebay.routing.reasons import Reason
from forebay.workers.runtime.outcomes import (
    Answered,
    Escalated,
    Failed,
    Outcome,
    Recorded,
    Retry,
    Routed,
)
from forebay.workers.telemetry.metrics.labels import MAX_MODELS, Capped, code_label, reason_label
from forebay.workers.telemetry.metrics.tallies import CounterTally, HistogramTally, Tallies

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 3_600)
HOPS: tuple[str, ...] = get_args(Hop)
WHERE = ("kind", "lane")
PROBABILITIES = tuple(tenth / 10 for tenth in range(1, 11))
_AT_SUBMIT = Reason.ROUTED_AT_SUBMIT.value
#: What a sweep did, by the state in which it left the job.
_SWEPT = {"waiting": "recovered", "failed": "dead", "expired": "expired", "done": "answered"}


class JobMetrics:
    """Counts jobs, and measures how long they take."""

    def __init__(self, registry: CollectorRegistry, tenants: int) -> None:
        self._tenant, self._model = Capped(tenants), Capped(MAX_MODELS)
        self._begun: dict[str, float] = {}
        in_flight = Gauge(
            "forebay_jobs_in_flight", "Jobs that the worker works now", registry=registry
        )
        in_flight.set_function(lambda: len(self._begun))
        tallies = Tallies(registry)
        self._lock = tallies.lock
        self._count_ways(tallies.counter)
        self._count_ends(tallies.counter)
        self._measure(tallies.histogram)

    def _count_ways(self, count: Callable[..., CounterTally]) -> None:
        """Register what counts how jobs move."""
        self._verdicts = count("verdicts", "Verdicts by the model that gave them", "kind", "model")
        self._attempts = count("attempts", "Attempts by outcome", *WHERE, "outcome")
        self._retries = count("retries", "Attempts after which a job waits again", *WHERE, "code")
        self._decisions = count("decisions", "Lanes chosen before an answer", *WHERE, "reason")
        self._escalations = count("escalations", "Jobs that went up", "kind", "reason")
        self._refusals = count(
            "egress_refusals", "Moves or calls refused because of egress", "lane"
        )
        for lane in HOPS:  # each begins at 0, for alerts
            self._refusals.add(lane, amount=0)
        self._swept = count("jobs_swept", "Jobs that a sweep gave back or ended", "result")

    def _count_ends(self, count: Callable[..., CounterTally]) -> None:
        """Register what counts how jobs end, and how their answers were made."""
        self._ended = count("jobs_ended", "Jobs that ended", *WHERE, "state", "code")
        self._tenant_ended = count("tenant_jobs_ended", "Jobs that ended", "tenant", "state")
        self._failed_checks = count("checks_failed", "Failed checks of answers", *WHERE, "check")
        self._seconds = count("second_opinions", "Second local answers", "kind", "agreed")
        self._degraded = count("answers_degraded", "Answers marked as degraded", *WHERE)
        self._cached = count("cache_hits", "Jobs answered from the cache", *WHERE)
        self._tokens = count("tokens", "Tokens of answers", "lane", "model", "direction")
        self._cost = count("cost_usd", "Cost of answers", "model")
        self._tenant_cost = count("tenant_cost_usd", "Cost of answers", "tenant")

    def _measure(self, measure: Callable[..., HistogramTally]) -> None:
        """Register what measures times and probabilities."""
        seconds, probability = partial(measure, SECONDS), partial(measure, PROBABILITIES)
        self._wait = seconds("job_wait_seconds", "Time in queues, of jobs that ended", *WHERE)
        self._service = seconds("job_service_seconds", "Time of an attempt", *WHERE)
        self._duration = seconds("job_duration_seconds", "Time from submit to end", *WHERE)
        self._verdict = probability("verdict_probability", "That a local answer will do", "kind")
        self._doubt = probability("doubt_probability", "That a local answer is wrong", "kind")

    def started(self, claim: Claim, /) -> None:
        """Count a job that is worked now."""
        self._begun[claim.token] = time.monotonic()
        record = claim.record
        if record.attempts == 1 and _AT_SUBMIT in record.reasons:
            with self._lock:
                self._decisions.add(record.kind, record.hop, _AT_SUBMIT)

    def finished(self, claim: Claim, recorded: Recorded, /) -> None:
        """Count what became of the job."""
        now = time.monotonic()
        took_s = now - self._begun.pop(claim.token, now)
        record, outcome = claim.record, recorded.outcome
        kind, hop = record.kind, record.hop
        with self._lock:
            self._service.add(kind, hop, amount=took_s)
            self._attempts.add(kind, hop, type(outcome).__name__.lower())
            if refuses_egress(outcome, hop):
                self._refusals.add(hop)
            self._move(record, recorded)
            if recorded.receipt is not None:
                self._end(record, recorded.receipt, hop)
            elif recorded.state == "cancelled":
                self._ended.add(kind, hop, "cancelled", "")

    def swept(self, record: Record, /) -> None:
        """Count a job that a sweep gave back or ended."""
        with self._lock:
            self._swept.add(_SWEPT.get(record.state, "cancelled"))
            if record.state != "waiting":
                self._end(record, record.to_receipt(), record.hop)

    def _move(self, record: Record, recorded: Recorded) -> None:
        """Count where a job goes, and what was found of its answer."""
        kind, hop = record.kind, record.hop
        match recorded.outcome:
            case Routed(queue, reason=reason, verdict=verdict):
                self._decisions.add(kind, hop_of(queue), reason_label(reason))
                if verdict is not None:
                    self._verdict.add(kind, amount=verdict.probability)
                    self._verdicts.add(kind, self._model(verdict.version))
            case Escalated(reason, draft):
                self._escalations.add(kind, reason_label(reason))
                if draft is not None:
                    self._judge(kind, hop, draft)
            case Answered(answer):
                self._judge(kind, hop, answer)
            case Retry(code) if recorded.state == "waiting":
                self._retries.add(kind, hop, code_label(code))

    def _end(self, record: Record, receipt: Receipt, lane: str) -> None:
        """Count a job that ended."""
        kind, tenant = record.kind, self._tenant(record.tenant)
        self._ended.add(kind, lane, receipt.status, code_label(receipt.error))
        self._tenant_ended.add(tenant, receipt.status)
        self._wait.add(kind, lane, amount=record.queued_ms / 1000)
        self._duration.add(kind, lane, amount=max(0.0, time.time() - record.created / 1000))
        if receipt.model is not None:
            self._answer(kind, lane, receipt, tenant)

    def _answer(self, kind: str, lane: str, receipt: Receipt, tenant: str) -> None:
        """Count how the answer of a job was made."""
        model = self._model(receipt.model or "")
        cost_usd = 0.0 if receipt.stand_in else receipt.cost_usd  # the mock's is no money
        self._tokens.add(lane, model, "in", amount=receipt.tokens_in)
        self._tokens.add(lane, model, "out", amount=receipt.tokens_out)
        if receipt.tokens_cached:
            self._tokens.add(lane, model, "cached", amount=receipt.tokens_cached)
        self._cost.add(model, amount=cost_usd)
        self._tenant_cost.add(tenant, amount=cost_usd)
        if receipt.degraded:
            self._degraded.add(kind, lane)
        if receipt.cached:
            self._cached.add(kind, lane)

    def _judge(self, kind: str, lane: str, answer: Answer) -> None:
        """Count what was found of an answer, kept or not, where it was made."""
        if answer.doubt is not None and lane == "local":
            self._doubt.add(kind, amount=answer.doubt.probability)
        for check in answer.checks:
            if check.name == "second_opinion":
                self._seconds.add(kind, str(check.passed).lower())
            elif not check.passed:
                self._failed_checks.add(kind, lane, check.name)


def refuses_egress(outcome: Outcome, hop: str) -> bool:
    """Return whether an outcome means that something was to leave that may not.

    Router and local lane keep a job of egress `deny` in the building as a matter of course, and
    say so in its reasons; that is no refusal. A pin to Bedrock is one, and so is a move that the
    ledger refuses, and everything of that kind that a bedrock worker finds.
    """
    code = EgressDenied.code
    match outcome:
        case Failed(error, reasons):
            return error.code == code or (hop == BEDROCK and code in reasons)
        case Retry(said):
            return said == code
        case Routed(reason=reason):
            return hop == BEDROCK and code in reason.split(",")
        case Answered(answer):
            return hop == BEDROCK and code in answer.reasons
    return False
