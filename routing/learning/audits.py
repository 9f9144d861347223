"""Audits: kept local answers are compared with Bedrock's, to learn from the difference.

An audit is a shadow job on the ledger, so leases, egress and budgets apply to it as to any job. It
gives no answer to anybody. `Audit` is what is stored of it: features and outcomes, never content.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from operator import not_
from typing import Any, Literal

import redis
from pydantic import Field, ValidationError

from forebay.routing.base import FrozenModel, JobId, Kind, Tenant
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Answer, Job
from forebay.routing.lanes import ROUTE
from forebay.routing.learning.calibration import Calibration, Calibrations
from forebay.routing.ledger.admission import refusal
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.packing import pack
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.store.connection import entries_of, reaching_redis

#: The purpose under which the books (`forebay.routing.limits.budget`) count audits.
PURPOSE = "audit"
#: When an audit that no worker has made is given up, with its copy of the content.
TERM_S = 3_600.0
#: How many rows of bulks a tenant may have audited within the time that an audit may take.
MAX_ROWS_AUDITED = 1_000
#: How many audits are kept, and how long.
MAX_AUDITS_KEPT, KEEP_DAYS = 20_000, 90
#: How many job types of a tenant are counted.
MAX_TYPES_PER_TENANT = 500
#: Labels of an answer whose probabilities are kept, the most probable first.
MAX_LABELS_KEPT = 20
#: The weight of a type's older audits, per new audit: a type remembers about the last hundred.
DECAY = 0.99

_STREAM = "fb:audits"
_PAGE = 1_000


class LabelOutcome(FrozenModel):
    """The probabilities of one answer between labels, and whether the answer is right.

    Attributes:
        shares: the uncalibrated probabilities, without names: of the chosen label, then of others.
        right: 1 if Bedrock chose the same label, else 0.
        question: a digest of the question that was answered, of a `decide` job.
    """

    shares: tuple[float, ...] = Field(min_length=2, max_length=MAX_LABELS_KEPT)
    right: float = Field(ge=0, le=1)
    question: str = Field("", exclude_if=not_)


class Audit(FrozenModel):
    """The result of one audit.

    Attributes:
        job: the job whose answer was audited.
        tenant, kind: of the job.
        type: the type of the job (`forebay.routing.learning.job_types`).
        version, score, probability: the verdict that was given.
        model, base_score, base_probability: the verdict of the model alone, without calibration and
            job type.
        features: of text and request, by name; the only inputs that `forebay calibrate` fits.
        agreement, doubt: of the second opinion and of the doubt, if there were any.
        agreements: with each of two further answers; empty if there were not two.
        base_doubt, doubt_model: the doubt before calibration, and the version of what computed it.
        answered_by, second: the models that gave the local answer and the second one.
        answer: numbers about the local answer, by name (`forebay router train-cascade`).
        labels: the probabilities of an answer that chose between labels.
        outcome: how good the local answer is, 0 to 1, if Bedrock's answer counts as right.
        how: the answer was `compared` with Bedrock's, or `judged` by Bedrock's model. An
            `escalated` answer was compared with the one that Bedrock gave in its place.
        sampled: it is of a random sample of all answers, kept or escalated. Only such audits
            teach verdicts; the others have doubtful answers.
        made: when it was made, in Unix seconds.
        cost_nusd: the cost of the call, in billionths of a dollar.
        stand_in: the mock answered instead of Bedrock, so nothing is learned from the audit.
    """

    job: JobId
    tenant: Tenant
    kind: Kind
    type: str
    version: str
    score: float
    probability: float = Field(ge=0, le=1)
    model: str
    base_score: float
    base_probability: float = Field(ge=0, le=1)
    features: dict[str, float] = Field(default_factory=dict)
    agreement: float | None = None
    agreements: tuple[float, ...] = ()
    doubt: float | None = None
    base_doubt: float | None = Field(None, ge=0, le=1)
    doubt_model: str | None = None
    answered_by: str | None = None
    second: str | None = None
    answer: dict[str, float] = Field(default_factory=dict)
    labels: tuple[LabelOutcome, ...] = ()
    outcome: float = Field(ge=0, le=1)
    how: Literal["compared", "judged", "escalated"]
    sampled: bool = True
    made: float = 0.0
    cost_nusd: int = 0
    stand_in: bool = False

    @property
    def gap(self) -> float:
        """How much better Bedrock's answer is than the local one, 0 to 1, if Bedrock's is right."""
        return 1 - self.outcome


class Audits:
    """The audits of one ledger. Safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._transitions = ledger, Transitions(ledger.redis)

    def begin(self, job: Job) -> str | None:
        """Create the audit of a finished job. Repeating it returns the same audit.

        Returns:
            The id of the audit, or None if the job's answer is gone or may not leave.

        Raises:
            Unavailable: Redis cannot be reached, or takes no new jobs.
        """
        return self._put_on("audit", [job.id], _shadow(job, self._term_s))

    def begin_row(self, claim: Claim, job: Job, answer: Answer) -> str | None:
        """Create the audit of a row of a shard that is being worked. It may be repeated.

        The row gets a record of its own, with its answer, for as long as an audit may take: its
        producer forgets the shard. The audit is of that record.

        Args:
            claim: the claim of the shard.
            job: the row as a job of its own.
            answer: the local answer, which is kept.

        Returns:
            The id of the audit, or None if the claim is lost, the content may not leave, or enough
            rows of the tenant are audited.

        Raises:
            Unavailable: Redis cannot be reached, or takes no new jobs.
        """
        row = job.model_copy(update={"id": _other_id(job, "row")})
        receipt = answer.receipt.model_copy(update={"id": row.id}).model_dump_json()
        sealed = self._ledger.seal.close(pack(answer.content))
        keep_ms = int(self._term_s * 1000)
        of_row = [claim.id, claim.token, row.id, receipt, sealed, keep_ms, MAX_ROWS_AUDITED]
        return self._put_on("audit_row", of_row, _shadow(row, self._term_s))

    @property
    def _term_s(self) -> float:
        """How long an audit may take: forgetting the audited job must find the audit too."""
        return min(TERM_S, self._ledger.settings.retention_s)

    def _put_on(self, script: str, audited: list[Any], shadow: Job) -> str | None:
        """Run the script that creates an audit, unless there is none to create."""
        ledger = self._ledger
        content, fields = ledger.packed(shadow)
        limit = ledger.settings.max_waiting
        args = [*audited, shadow.id, ROUTE, ledger.bell, content, limit, *fields]
        status, *details = (part.decode() for part in self._transitions.run(script, *args))
        if refused := refusal(status, *details) if details else None:
            raise refused
        return shadow.id if status in {"created", "known"} else None

    def learn(self, job_id: str, audit: Audit, excess: float) -> bool:
        """Record the result of an audit once; return False if it was recorded or forgotten before.

        The id is that of the audit's job, or of the job that was escalated.

        `excess` is the observed gap less the predicted gap. It counts for the job's type, unless
        the mock answered, or the audit is not of a random sample.
        """
        keep_ms, counted = (
            KEEP_DAYS * 86_400_000,
            excess if audit.sampled and not audit.stand_in else "",
        )
        args: list[Any] = [job_id, audit.tenant, audit.type, counted, audit.model_dump_json()]
        args += [MAX_AUDITS_KEPT, keep_ms, MAX_TYPES_PER_TENANT, DECAY]
        return bool(self._transitions.run("learn", *args))

    def recount(self, audits: Iterable[Audit], calibrations: Calibrations) -> None:
        """Count the types of these audits again, the oldest first, by the present calibrations."""
        counts: dict[str, dict[str, tuple[float, float]]] = {}
        for audit in filter(lambda audit: audit.sampled, audits):
            types = counts.setdefault(audit.tenant, {})
            number, total = types.pop(audit.type, (0.0, 0.0))
            excess = audit.gap - _predicted(audit, calibrations.of(audit.tenant))
            types[audit.type] = number * DECAY + 1, total * DECAY + excess
        now_ms = int(time.time() * 1000)
        with reaching_redis(), self._ledger.redis.pipeline() as pipe:
            for tenant, types in counts.items():
                key, last = f"fb:types:{tenant}", list(types.items())[-MAX_TYPES_PER_TENANT:]
                pipe.delete(key)
                pipe.hset(key, mapping={name: f"{n} {total} {now_ms}" for name, (n, total) in last})
                pipe.pexpire(key, KEEP_DAYS * 86_400_000)
            pipe.execute()

    def forget_types(self, tenants: Iterable[str]) -> None:
        """Forget what audits of these tenants showed of their job types."""
        keys = [f"fb:types:{tenant}" for tenant in tenants]
        with reaching_redis():
            if keys:
                self._ledger.redis.delete(*keys)

    def read(self, tenant: str | None = None) -> Iterator[Audit]:
        """Yield the audits that are kept, the oldest first, of one tenant or of all."""
        for _, fields in entries_of(self._ledger.redis, _STREAM):
            audit = _parsed(fields)
            if audit is not None and tenant in {None, audit.tenant}:
                yield audit


def latest(client: redis.Redis, count: int) -> Iterator[Audit]:
    """Yield the last audits of all tenants, the newest first."""
    last = "+"
    while count > 0:
        with reaching_redis():
            page: Any = client.xrevrange(_STREAM, max=last, count=min(count, _PAGE))
        yield from filter(None, (_parsed(fields) for _, fields in page))
        if not page:
            return
        count, last = count - len(page), f"({page[-1][0].decode()}"


def chosen(job_id: str, share: float, secret: bytes) -> bool:
    """Return True if a job is in a sample of this share. The secret keeps callers from choosing."""
    digest = hmac.new(secret, f"audit {job_id}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:6]) < share * 2**48


def _predicted(audit: Audit, calibration: Calibration | None) -> float:
    """Return the gap that is predicted for the audited job without regard to its type."""
    if calibration is None or calibration.model != audit.model:
        return audit.base_score
    return audit.base_score + calibration.excess(audit.features)


def _shadow(job: Job, term_s: float) -> Job:
    """Return the job that makes the audit: the same request, without its caller's options."""
    return job.model_copy(
        update={
            "id": _other_id(job, "audit"),
            "lane": "bedrock",
            "priority": "bulk",
            "deadline": datetime.now(UTC) + timedelta(seconds=term_s),
            "idempotency_key": None,
            "cache": False,
            "metadata": {},
        }
    )


def _other_id(job: Job, what: str) -> str:
    """Return the id of what belongs to a job: the same each time."""
    name = hashlib.sha256(f"{what} of {job.id}".encode()).hexdigest()[:32]
    return f"{job.tenant}.{name}"


def _parsed(fields: dict[bytes, bytes]) -> Audit | None:
    try:
        return Audit.model_validate_json(fields.get(b"audit", b""))
    except (ValidationError, InvalidJob):  # written by another version of this program
        return None
