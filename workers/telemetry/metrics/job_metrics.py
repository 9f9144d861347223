"""Metrics of the jobs that this worker works. docs/metrics.md explains each."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 3_600)
HOPS: tuple[str, ...] = get_args(Hop)
WHERE = ("kind", "lane")
PROBABILITIES = tuple(tenth / 10 for tenth in range(1, 11))
#: What a sweep did, by the state in which it left the job.
_SWEPT = {"waiting": "recovered", "failed": "dead", "expired": "expired", "done": "answered"}


class JobMetrics:
    """Counts jobs, and measures how long they take."""

    def __init__(self, registry: CollectorRegistry, tenants: int) -> None:
        self._tenant, self._model = Capped(tenants), Capped(MAX_MODELS)
        self._begun: dict[str, float] = {}
        self._count_ways(registry)
        self._count_ends(registry)
        self._measure(registry)

    def _count_ways(self, registry: CollectorRegistry) -> None:
        """Register what counts how jobs move."""
        count = partial(_counter, registry)
        in_flight = "Jobs that the worker works now"
        self._in_flight = Gauge("forebay_jobs_in_flight", in_flight, registry=registry)
        self._verdicts = count("verdicts", "Verdicts by the model that gave them", "kind", "model")
        self._attempts = count("attempts", "Attempts by outcome", *WHERE, "outcome")
        self._retries = count("retries", "Attempts after which a job waits again", *WHERE, "code")
        self._decisions = count("decisions", "Lanes chosen before an answer", *WHERE, "reason")
        self._escalations = count("escalations", "Jobs that went up", "kind", "reason")
        refusals = count("egress_refusals", "Moves or calls refused because of egress", "lane")
        self._refusals = {lane: refusals(lane) for lane in HOPS}  # each begins at 0, for alerts
        self._swept = count("jobs_swept", "Jobs that a sweep gave back or ended", "result")

    def _count_ends(self, registry: CollectorRegistry) -> None:
        """Register what counts how jobs end, and how their answers were made."""
        count = partial(_counter, registry)
        self._ended = count("jobs_ended", "Jobs that ended", *WHERE, "state", "code")
        self._tenant_ended = count("tenant_jobs_ended", "Jobs that ended", "tenant", "state")
        self._failed_checks = count("checks_failed", "Failed checks of answers", *WHERE, "check")
        self._seconds = count("second_opinions", "Second local answers", "kind", "agreed")
        self._degraded = count("answers_degraded", "Answers marked as degraded", *WHERE)
        self._cached = count("cache_hits", "Jobs answered from the cache", *WHERE)
        self._tokens = count("tokens", "Tokens of answers", "lane", "model", "direction")
        self._cost = count("cost_usd", "Cost of answers", "model")
        self._tenant_cost = count("tenant_cost_usd", "Cost of answers", "tenant")

    def _measure(self, registry: CollectorRegistry) -> None:
        """Register what measures times and probabilities."""
        seconds = partial(_histogram, registry, SECONDS)
        probability = partial(_histogram, registry, PROBABILITIES)
        self._wait = seconds("job_wait_seconds", "Time in queues, of jobs that ended", *WHERE)
        self._service = seconds("job_service_seconds", "Time of an attempt", *WHERE)
        self._duration = seconds("job_duration_seconds", "Time from submit to end", *WHERE)
        self._verdict = probability("verdict_probability", "That a local answer will do", "kind")
        self._doubt = probability("doubt_probability", "That a local answer is wrong", "kind")

    def started(self, claim: Claim, /) -> None:
        """Count a job that is worked now."""
        self._begun[claim.token] = time.monotonic()
        self._in_flight.inc()
        record = claim.record
        if record.attempts == 1 and Reason.ROUTED_AT_SUBMIT in record.reasons:
            self._decisions(record.kind, record.hop, Reason.ROUTED_AT_SUBMIT.value).inc()

    def finished(self, claim: Claim, recorded: Recorded, /) -> None:
        """Count what became of the job."""
        record, outcome = claim.record, recorded.outcome
        took_s = time.monotonic() - self._begun.pop(claim.token, time.monotonic())
        self._in_flight.dec()
        self._service(record.kind, record.hop).observe(took_s)
        name = type(outcome).__name__.lower()
        self._attempts(record.kind, record.hop, name).inc()
        if refuses_egress(outcome, record.hop):
            self._refusals[record.hop].inc()
        match outcome:
            case Routed(queue, reason=reason, verdict=verdict):
                lane = hop_of(queue)
                self._decisions(record.kind, lane, reason_label(reason)).inc()
                if verdict is not None:
                    self._verdict(record.kind).observe(verdict.probability)
                    self._verdicts(record.kind, self._model(verdict.version)).inc()
            case Escalated(reason, draft):
                self._escalations(record.kind, reason_label(reason)).inc()
                if draft is not None:
                    self._judge(record.kind, record.hop, draft)
            case Answered(answer):
                self._judge(record.kind, record.hop, answer)
            case Retry(code) if recorded.state == "waiting":
                self._retries(record.kind, record.hop, code_label(code)).inc()
        if recorded.receipt is not None:
            self._end(record, recorded.receipt, record.hop)
        elif recorded.state == "cancelled":
            self._ended(record.kind, record.hop, "cancelled", "").inc()

    def swept(self, record: Record, /) -> None:
        """Count a job that a sweep gave back or ended."""
        self._swept(_SWEPT.get(record.state, "cancelled")).inc()
        if record.state != "waiting":
            self._end(record, record.to_receipt(), record.hop)

    def _end(self, record: Record, receipt: Receipt, lane: str) -> None:
        """Count a job that ended."""
        kind, tenant = record.kind, self._tenant(record.id.partition(".")[0])
        self._ended(kind, lane, receipt.status, code_label(receipt.error)).inc()
        self._tenant_ended(tenant, receipt.status).inc()
        self._wait(kind, lane).observe(record.queued_ms / 1000)
        self._duration(kind, lane).observe(max(0.0, time.time() - record.created / 1000))
        if receipt.model is not None:
            self._answer(kind, lane, receipt, tenant)

    def _answer(self, kind: str, lane: str, receipt: Receipt, tenant: str) -> None:
        """Count how the answer of a job was made."""
        model = self._model(receipt.model or "")
        self._tokens(lane, model, "in").inc(receipt.tokens_in)
        self._tokens(lane, model, "out").inc(receipt.tokens_out)
        self._cost(model).inc(receipt.cost_usd)
        self._tenant_cost(tenant).inc(receipt.cost_usd)
        if receipt.degraded:
            self._degraded(kind, lane).inc()
        if receipt.cached:
            self._cached(kind, lane).inc()

    def _judge(self, kind: str, lane: str, answer: Answer) -> None:
        """Count what was found of an answer, kept or not, where it was made."""
        if answer.doubt is not None and lane == "local":
            self._doubt(kind).observe(answer.doubt.probability)
        for check in answer.checks:
            if check.name == "second_opinion":
                self._seconds(kind, str(check.passed).lower()).inc()
            elif not check.passed:
                self._failed_checks(kind, lane, check.name).inc()


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


# A child of a metric is looked up by its labels for every job, so it is remembered.


def _counter(
    registry: CollectorRegistry, name: str, text: str, *labels: str
) -> Callable[..., Counter]:
    """Register a counter; return what gives its child for some labels."""
    return cache(Counter(f"forebay_{name}", text, labels, registry=registry).labels)


def _histogram(
    registry: CollectorRegistry, buckets: tuple[float, ...], name: str, text: str, *labels: str
) -> Callable[..., Histogram]:
    """Register a histogram; return what gives its child for some labels."""
    name = f"forebay_{name}"
    return cache(Histogram(name, text, labels, registry=registry, buckets=buckets).labels)
