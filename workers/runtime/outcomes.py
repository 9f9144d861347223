"""What becomes of a claimed job. A worker returns one of these values; `execute.record` writes it.

An outcome may hold content. What leaves the process of it is a receipt (`execute.TaskResult`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shards import RisingRow
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Receipt, Verdict
from forebay.routing.ledger.claim import Claim
from forebay.routing.reasons import Reason


@dataclass(frozen=True, slots=True)
class Routed:
    """The job moves to a lane's queue.

    Attributes:
        reason: why; several reason codes are separated by commas.
    """

    queue: str
    egress: str
    reason: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Answered:
    """The job has an answer, good or degraded.

    Attributes:
        then: called once the answer is on the ledger, if it is not `None`.
    """

    answer: Answer
    then: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Escalated:
    """The job goes up to Bedrock, with its local answer as a draft if there is one.

    Attributes:
        reason: why; several reason codes are separated by commas.
    """

    reason: str
    draft: Answer | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ends without an answer.

    Attributes:
        reasons: reason codes that are added to the job's own.
    """

    error: ForebayError
    reasons: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Retry:
    """The job goes back to its queue.

    Attributes:
        code: the error's.
        delay_s: seconds until the job can be claimed again.
        counted: whether this was one of the job's attempts; False if the work never began.
    """

    code: str
    delay_s: float = 0.0
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Audited:
    """The job was an audit, which is over; the receipt says what it cost."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class ShardAnswered:
    """All rows of a shard have a result, or go up.

    Attributes:
        receipt: the shard's.
        results: what became of each row, in order.
        rising: the rows that go up, each as a job of its own.
    """

    receipt: Receipt
    results: tuple[RowResult, ...] = field(repr=False)
    rising: tuple[RisingRow, ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class Dropped:
    """Nothing is recorded: the claim was lost, or the ledger could not be told.

    A lost job was cancelled, expired, or was given to another worker. A job whose outcome could
    not be recorded is given to another worker when its lease ends.
    """


Outcome = Routed | Answered | Escalated | Failed | Retry | Audited | ShardAnswered | Dropped


def recalled(claim: Claim, cached: Answer, *, degraded: bool = False) -> Answered:
    """Return the outcome of a job that is answered from the cache, with the job's own reasons."""
    reasons = (*claim.record.reasons, Reason.CACHED.value)
    update = {"reasons": reasons, "verdict": claim.record.verdict, "degraded": degraded}
    return Answered(cached.model_copy(update=update))
