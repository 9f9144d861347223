"""Outcomes of a claimed job. A worker returns one of these values; `recording.record` writes it.

An outcome may hold content. What leaves the process of it is a receipt (`Recorded.receipt`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, Self

from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shards import RisingRow
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Receipt, Verdict
from forebay.routing.ledger.claim import Claim, Move
from forebay.routing.reasons import Reason
from forebay.routing.receipts import JobState

MAX_NOTE_CHARS = 400  # of an error's message in a receipt


def note_of(error: ForebayError) -> str:
    """Return what an error says, as a receipt has room for it."""
    return error.message[:MAX_NOTE_CHARS]


@dataclass(frozen=True, slots=True)
class Routed:
    """The job moves to a lane's queue.

    Attributes:
        reason: why; several reason codes are separated by commas.
        verdict: what the router model said; `None` if it was not asked.
    """

    queue: str
    egress: str
    reason: str
    verdict: Verdict | None

    def move(self, claim: Claim) -> Move:
        """Return the move that the ledger makes."""
        return Move(claim, self.queue, self.egress, self.reason, self.verdict)


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
        note: what the error says, for the receipt if no attempts are left; never content.
        delay_s: seconds until the job can be claimed again.
        counted: whether this was one of the job's attempts; False if the work never began.
    """

    code: str
    _: KW_ONLY
    note: str = ""
    delay_s: float = 0.0
    counted: bool = True

    @classmethod
    def after(cls, error: ForebayError, *, delay_s: float = 0.0, counted: bool = True) -> Self:
        """Return the retry after an error, whose field is part of the note."""
        note = str(error)[:MAX_NOTE_CHARS]
        return cls(error.code, note=note, delay_s=delay_s, counted=counted)


@dataclass(frozen=True, slots=True)
class Deferred:
    """The job waits for a batch on Bedrock, in a group, and for `wait_s` at most."""

    group: str
    wait_s: float


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


Outcome = (
    Routed | Answered | Escalated | Failed | Retry | Deferred | Audited | ShardAnswered | Dropped
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """How a job stands on the ledger after its outcome was recorded.

    Attributes:
        id: the job's id.
        outcome: what was recorded.
        state: `waiting` if the job goes on, or how it ended; `lost` if nothing was recorded and the
            job was not cancelled.
        receipt: the receipt of a job that ended, without its content.
    """

    id: str
    outcome: Outcome
    state: JobState | Literal["lost"]
    receipt: Receipt | None = None


def recalled(claim: Claim, cached: Answer, *, degraded: bool = False) -> Answered:
    """Return the outcome of a job that is answered from the cache, with the job's own reasons."""
    reasons = (*claim.record.reasons, Reason.CACHED.value)
    update = {"reasons": reasons, "verdict": claim.record.verdict, "degraded": degraded}
    return Answered(cached.model_copy(update=update))
