"""Audits: some local answers that were kept are held against Bedrock's, to learn from.

An audit is a shadow of its job on the ledger, so that leases, egress, budgets and books hold for it
as for any job. It gives no answer to anybody. What is kept of it is in `Audit`: features and
outcomes, never content.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import Field, ValidationError

from forebay.routing.base import FrozenModel, JobId, Kind, Tenant
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Job
from forebay.routing.lanes import ROUTE
from forebay.routing.learning.calibration import Calibration, Calibrations
from forebay.routing.ledger.admission import refusal
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import transition

#: In the books (`forebay.routing.limits.budget`), what a tenant spends on audits.
PURPOSE = "audit"
#: An audit that nobody could make for so long is given up, and its copy of the content with it.
TERM_S = 3_600.0
#: Audits kept, and for how long.
MOST, KEEP_DAYS = 20_000, 90
#: Of a tenant's types, how many are counted; and what a new audit leaves of the older ones' weight,
#: so that a type remembers about its last hundred.
TYPES, FADE = 500, 0.99

_STREAM = "fb:audits"
_PAGE = 1_000


class Audit(FrozenModel):
    """What one audit showed.

    Attributes:
        job: the one whose answer was audited.
        type: of the job (`forebay.routing.learning.job_types`).
        version, score, probability: of the verdict as it was given.
        model, base_score, base_probability: of the model alone, which nothing learned has moved.
        features: of text and request, by name; all that `forebay calibrate` fits.
        agreement, doubt: of the second opinion and of the doubt, where there were any.
        outcome: how good the local answer is, 0 to 1, where Bedrock's counts as right.
        how: its answer was compared with Bedrock's, or judged by it.
        cost_nusd: of the call, in billionths of a dollar.
        stand_in: nothing is to be learned from it.
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
    doubt: float | None = None
    outcome: float = Field(ge=0, le=1)
    how: Literal["compared", "judged"]
    cost_nusd: int = 0
    stand_in: bool = False

    @property
    def gap(self) -> float:
        """What Bedrock's answer would have gained."""
        return 1 - self.outcome


class Audits:
    """The audits of one ledger. Safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._audit = ledger.redis.register_script(transition("audit"))
        self._learn = ledger.redis.register_script(transition("learn"))

    def begin(self, job: Job) -> str | None:
        """Put on the audit of a job that is done; asked for again, it is the same one.

        Returns:
            Its id; none where the job's answer is not there any more, or may not leave.

        Raises:
            Unavailable: Redis cannot be reached, or takes no new jobs.
        """
        ledger = self._ledger
        # No longer than its job is kept: whoever forgets that must find this too.
        shadow = _shadow(job, min(TERM_S, ledger.settings.retention_s))
        content, fields = ledger.packed(shadow)
        limit = ledger.settings.max_waiting
        args: list[Any] = [job.id, shadow.id, ROUTE, ledger.bell, content, limit, *fields]
        with reaching_redis():
            verb, *details = (part.decode() for part in self._audit(args=args))
        if refused := refusal(verb, *details) if details else None:
            raise refused
        return shadow.id if details else None

    def learn(self, shadow_id: str, audit: Audit, excess: float) -> bool:
        """Write down what an audit showed, once. False where it is written, or was forgotten.

        `excess` is the gap seen less the gap foretold; it counts for the job's type, where it was
        not the stand-in that showed it.
        """
        told = audit.model_dump_json()
        keep_ms, counted = KEEP_DAYS * 86_400_000, "" if audit.stand_in else excess
        args: list[Any] = [shadow_id, audit.tenant, audit.type, counted, told, MOST, keep_ms]
        args += [TYPES, FADE]
        with reaching_redis():
            return bool(self._learn(args=args))

    def recount(self, audits: Iterable[Audit], calibrations: Calibrations) -> None:
        """Count the types of these audits, the oldest first, by what is foretold from now on."""
        counts: dict[str, dict[str, tuple[float, float]]] = {}
        for audit in audits:
            types = counts.setdefault(audit.tenant, {})
            number, total = types.pop(audit.type, (0.0, 0.0))
            excess = audit.gap - _foretold(audit, calibrations.of(audit.tenant))
            types[audit.type] = number * FADE + 1, total * FADE + excess
        now_ms = int(time.time() * 1000)
        with reaching_redis(), self._ledger.redis.pipeline() as pipe:
            for tenant, types in counts.items():
                key, last = f"fb:types:{tenant}", list(types.items())[-TYPES:]
                pipe.delete(key)
                pipe.hset(key, mapping={name: f"{n} {total} {now_ms}" for name, (n, total) in last})
                pipe.pexpire(key, KEEP_DAYS * 86_400_000)
            pipe.execute()

    def read(self, tenant: str | None = None) -> Iterator[Audit]:
        """All that are kept, the oldest first; of one tenant, or of all."""
        last = "-"
        while page := self._page(last):
            for _, fields in page:
                audit = _read(fields)
                if audit is not None and tenant in {None, audit.tenant}:
                    yield audit
            last = f"({page[-1][0].decode()}"

    def _page(self, after: str) -> list[Any]:
        with reaching_redis():
            page: Any = self._ledger.redis.xrange(_STREAM, min=after, count=_PAGE)
        return list(page)


def chosen(job_id: str, share: float, secret: bytes) -> bool:
    """Whether a job is in a sample of this share; under a secret, so that no caller can choose."""
    digest = hmac.new(secret, f"audit {job_id}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:6]) < share * 2**48


def _foretold(audit: Audit, by: Calibration | None) -> float:
    """The gap of a job without regard to its type."""
    moved = by.excess(audit.features) if by is not None and by.model == audit.model else 0.0
    return audit.base_score + moved


def _shadow(job: Job, term_s: float) -> Job:
    """The job that is put on: the same question, of nobody."""
    name = hashlib.sha256(f"audit of {job.id}".encode()).hexdigest()[:32]
    return job.model_copy(
        update={
            "id": f"{job.tenant}.{name}",
            "lane": "bedrock",
            "priority": "bulk",
            "deadline": datetime.now(UTC) + timedelta(seconds=term_s),
            "idempotency_key": None,
            "cache": False,
            "metadata": {},
        }
    )


def _read(fields: dict[bytes, bytes]) -> Audit | None:
    try:
        return Audit.model_validate_json(fields.get(b"audit", b""))
    except (ValidationError, InvalidJob):  # of another version of this program
        return None
