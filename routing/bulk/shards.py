"""The shards of bulks on the ledger: put on, opened by a worker, settled, collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from forebay.routing.bulk.row_result import PlainRows, RowResult, pack_rows, plain_rows, unpack_rows
from forebay.routing.bulk.shard import MAX_ROWS, Shard, parse_shard
from forebay.routing.errors import (
    CallerError,
    EgressDenied,
    ForebayError,
    InvalidJob,
    Lost,
    Misconfigured,
    UnknownJob,
)
from forebay.routing.jobs import CONTRACT, Answer, Job, Receipt
from forebay.routing.ledger.admission import ANSWER_BYTES, VECTOR_BYTES, NewJob
from forebay.routing.ledger.claim import Claim, unsealed
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.reader import check_stream
from forebay.routing.ledger.record import ENDED, Record, fields_of, stored
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.store.connection import text_of
from forebay.routing.store.encryption import Seal
from forebay.routing.tracing import traceparent

MAX_DIGITS = 9  # of a number of rows
ROW_ANSWER_BYTES = 64  # of one row's answer in words, compressed with those of other rows


@dataclass(frozen=True, slots=True)
class RisingRow:
    """A row that goes up to Bedrock as a job of its own.

    Attributes:
        job: the job.
        reasons: why it goes up, after the reasons of its shard.
        draft: its local answer, if there is one.
    """

    job: Job = field(repr=False)
    reasons: tuple[str, ...]
    draft: Answer | None = field(repr=False)


@dataclass(frozen=True)
class ShardResult:
    """A shard that has ended.

    Attributes:
        receipt: how the shard ended.
        packed: what became of its rows, as `pack_rows` packed it. Empty if nothing of the shard was
            answered.
    """

    receipt: Receipt
    packed: bytes = field(repr=False)

    @cached_property
    def rows(self) -> list[RowResult | None]:
        """What became of each row; `None` for a row without a result. Raises `ValueError`."""
        return unpack_rows(self.packed) if self.packed else []

    @cached_property
    def plain(self) -> PlainRows | None:
        """What became of the rows, as JSON text; `None` if a row says more than its content."""
        return plain_rows(self.packed)


class Shards:
    """The shards on one ledger. Safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._transitions = Transitions(ledger.redis)

    def create(self, shards: Sequence[Shard], watcher: str = "") -> list[str | ForebayError]:
        """Put shards on the ledger, in one round trip. A shard that is there already stays.

        Returns:
            For each shard its id, or why it was refused.

        Raises:
            Unavailable: Redis cannot be reached. Some shards may be there: call again.
        """
        for shard in shards:
            check_stream(shard.id, watcher)
        return self._ledger.put_on([self._new_job(shard, watcher) for shard in shards])

    def _new_job(self, shard: Shard, watcher: str) -> NewJob:
        ledger = self._ledger
        content = ledger.seal.close(shard.model_dump_json(exclude_defaults=True).encode())
        fields = [item for pair in _envelope(shard).items() for item in pair]
        return NewJob(shard.id, content, fields, watcher)

    def keep(self, claim: Claim, results: Sequence[RowResult | None]) -> None:
        """Keep the results so far with a shard that is being worked, in case its worker dies."""
        over = sum(result is not None for result in results)
        self._ledger.keep_draft(claim, self._ledger.seal.close(pack_rows(results)), over)

    def rows_over(self, shard_ids: Sequence[str]) -> list[int]:
        """Return of each shard how many rows were over when a worker kept them last.

        Workers keep them every few seconds. It is 0 of a shard that has ended itself.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        found = fields_of(self._transitions, shard_ids, ["state", "rows_over"])
        return [
            0 if text_of(state or b"") in ENDED else min(MAX_ROWS, _number(over))
            for state, over in found
        ]

    def settle(
        self,
        claim: Claim,
        receipt: Receipt,
        results: Sequence[RowResult],
        counts: dict[str, int],
        rising: Sequence[RisingRow],
    ) -> None:
        """End a shard, and put the rows that go up on the ledger as jobs for Bedrock.

        Raises:
            EgressDenied: A row was to go up, and its content may not leave any more.
            Lost: The claim no longer holds the shard; nothing was changed.
        """
        ledger = self._ledger
        reply = self._transitions.run(
            "settle_shard", claim.id, claim.token, receipt.model_dump_json(),
            ledger.seal.close(pack_rows(results)), int(ledger.settings.retention_s * 1000),
            ledger.bell, ANSWER_BYTES,
            len(counts), *(item for pair in counts.items() for item in pair),
            *(item for row in rising for item in self._rising_args(row)),
        )  # fmt: skip
        if reply == b"lost":
            raise Lost
        if reply == b"egress_denied":
            raise EgressDenied("the content of these rows may not leave", field="egress")

    def _rising_args(self, row: RisingRow) -> list[Any]:
        content, _ = self._ledger.packed(row.job)
        draft, seal = row.draft, self._ledger.seal
        sealed = seal.close(draft.model_dump_json().encode()) if draft else b""
        doubt = draft.doubt.model_dump_json() if draft and draft.doubt else ""
        return [row.job.id, content, sealed, ",".join(row.reasons), doubt]

    def results(self, shard_ids: Sequence[str]) -> list[ShardResult | ForebayError | None]:
        """Return what became of each shard, in one round trip; `None` if it has not ended.

        It is `UnknownJob` for a shard that Redis does not have, and another error for a shard whose
        results cannot be read.
        """
        found = stored(self._transitions, shard_ids, answers=True)
        return [
            _read_result(shard_id, fields, sealed, self._ledger.seal)
            for shard_id, (fields, sealed) in zip(shard_ids, found, strict=True)
        ]


def open_shard(claim: Claim) -> Shard:
    """Return the shard that a claim holds. Its egress is `deny` if the record has come to say so.

    Raises:
        InvalidJob: The content is missing, damaged, or another job's.
        Unavailable: This worker lacks the key; another worker may have it.
    """
    try:
        shard = parse_shard(unsealed(claim.sealed, claim.seal))
    except (ValueError, CallerError):
        raise InvalidJob("the stored content cannot be read") from None
    if shard.id != claim.id or len(shard.rows) != claim.record.rows:
        raise InvalidJob("the stored content is another job's")
    if shard.bulk != claim.record.bulk:
        raise InvalidJob("the stored content is another bulk's")
    return shard.model_copy(update={"egress": "deny"}) if claim.record.egress == "deny" else shard


def kept_results(claim: Claim, rows: int) -> list[RowResult | None]:
    """Return the results that an earlier worker kept with a shard; none are given if unreadable."""
    if not claim.draft:
        return [None] * rows
    try:
        kept = unpack_rows(unsealed(claim.draft, claim.seal))
    except ValueError:
        return [None] * rows
    return kept if len(kept) == rows else [None] * rows


def _number(text: bytes | None) -> int:
    """Return a number that a record should hold; 0 if it holds none."""
    digits = text or b""
    return int(digits) if digits.isdigit() and len(digits) <= MAX_DIGITS else 0


def _envelope(shard: Shard) -> dict[str, str]:
    """Return the fields of a new shard's record that its producer gives."""
    deadline = shard.deadline
    pin = {"pin": "model"} if shard.model else {}  # a router has to find out who serves it
    return {
        **pin,
        "answer_bytes": str(_answer_bytes(shard)),
        "contract": str(CONTRACT),
        "kind": shard.kind,
        "egress": shard.egress,
        "priority": "bulk",
        "deadline": str(max(1, int(deadline.timestamp() * 1000))) if deadline else "",
        "rows": str(len(shard.rows)),
        "bulk": shard.bulk,
        "traceparent": traceparent.current(),
    }


def _answer_bytes(shard: Shard) -> int:
    if shard.kind != "embed":
        return ROW_ANSWER_BYTES * len(shard.rows)
    texts = sum(len(row.get("texts", (None,))) for row in shard.rows)
    return texts * VECTOR_BYTES


def _read_result(
    shard_id: str, fields: dict[bytes, bytes], sealed: bytes | None, seal: Seal
) -> ShardResult | ForebayError | None:
    if not fields:
        return UnknownJob("no such shard", field="id")
    try:
        record = Record.read(shard_id, fields)
        if record.state not in ENDED:
            return None
        return _readable(ShardResult(record.to_receipt(), seal.open(sealed) if sealed else b""))
    except Misconfigured as error:
        return error
    except (ValueError, CallerError):
        return InvalidJob("the stored results cannot be read")


def _readable(result: ShardResult) -> ShardResult:
    """Return the result; raise `ValueError` if its rows cannot be read."""
    if result.plain is None:
        _ = result.rows
    return result
