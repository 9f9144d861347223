"""The record of a batch: what its caller asked for, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from forebay.routing.base import Egress

BatchState = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling",
    "cancelled",
]  # fmt: skip
Family = Literal["openai", "anthropic", "bulk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the caller of a batch or a bulk asked for.

    Attributes:
        family: whose wire format the caller speaks; `bulk` is our own.
        endpoint: the endpoint that answers a request alone; of a bulk, empty.
        input_file: the id of the file that it was made of; empty if it came in the request's body.
        window: the span within which it is to be answered, as the caller wrote it.
        expires: seconds since 1970 by which its requests must be answered, or `None`.
        egress: `allow` if the requests may leave the building.
        max_usd, max_cost_usd: what the whole, and what one request may cost on Bedrock.
        metadata: the caller's own entries.
        keep_outputs_s: how long its outputs are kept; `None` means as long as other files.
        options: of a bulk: `RowOptions` as JSON.
        retries: of a bulk: the id of the bulk whose failed rows are answered again.
    """

    family: Family
    endpoint: str = ""
    input_file: str = ""
    window: str = ""
    expires: float | None = None
    egress: Egress = "deny"
    max_usd: float | None = None
    max_cost_usd: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    keep_outputs_s: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    retries: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as Redis knows it. Times are seconds since 1970, or `None`.

    Attributes:
        id: `<tenant>.<128 random bits>`, also the id of the bulk that answers it.
        store: the folder of files that its input is in; see `FileStore.id`.
        created: when it was made.
        terms: what its caller asked for.
        in_progress_at: when its input was found valid.
        finalizing_at: when all requests had ended.
        completed_at, failed_at, expired_at, cancelled_at: when it ended in this way.
        cancelling_at: when somebody asked to cancel it.
        total: its requests; `refused`: those that are no valid requests.
        rows: the rows that its valid requests became: more, if a request asks for several answers.
        completed, failed, expired, cancelled: requests by how they ended; known at its end.
        rows_done, rows_over: rows that have an answer, and rows that have ended, so far.
        tokens_in, tokens_out: of all its answers; known at its end.
        output_file, error_file: the ids of its outputs, or empty.
        errors: why the input is not valid: entries with `code`, `line`, `message`, `param`.
    """

    id: str
    store: str
    created: float
    terms: Terms
    in_progress_at: float | None = None
    finalizing_at: float | None = None
    completed_at: float | None = None
    failed_at: float | None = None
    expired_at: float | None = None
    cancelled_at: float | None = None
    cancelling_at: float | None = None
    total: int = 0
    refused: int = 0
    rows: int = 0
    completed: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    rows_done: int = 0
    rows_over: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    output_file: str = ""
    error_file: str = ""
    errors: tuple[Mapping[str, Any], ...] = ()

    @property
    def tenant(self) -> str:
        """The tenant that it belongs to."""
        return self.id.partition(".")[0]

    @property
    def state(self) -> BatchState:
        """What the batch does now, or how it ended."""
        ended = self._ended()
        if ended:
            return ended
        if self.cancelling_at:
            return "cancelling"
        if self.finalizing_at:
            return "finalizing"
        return "in_progress" if self.in_progress_at else "validating"

    @property
    def ended(self) -> bool:
        """Whether the batch has ended, one way or another."""
        return self._ended() is not None

    def _ended(self) -> BatchState | None:
        if self.failed_at:
            return "failed"
        if self.cancelled_at:
            return "cancelled"
        if self.expired_at:
            return "expired"
        return "completed" if self.completed_at else None

    @property
    def done_so_far(self) -> int:
        """Requests that have an answer, about: requests with several answers count in shares."""
        if self.ended or not self.rows:
            return self.completed
        return (self.total - self.refused) * self.rows_done // self.rows

    @property
    def failed_so_far(self) -> int:
        """Requests that ended without an answer, about."""
        if self.ended or not self.rows:
            return self.failed + self.expired + self.cancelled if self.ended else self.refused
        ended = (self.total - self.refused) * (self.rows_over - self.rows_done) // self.rows
        return self.refused + ended
