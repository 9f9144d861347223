"""The record of a job in the ledger: everything about the job except its content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast, get_args

from forebay.routing.base import KINDS, Egress, Kind
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Doubt, Receipt, Verdict
from forebay.routing.lanes import Hop
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.receipts import JobState, Status
from forebay.routing.store.connection import decoded
from forebay.routing.tracing.traceparent import checked

ENDED = frozenset({"done", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True)
class Record:
    """The typed fields of the hash `fb:job:<id>`. Times are Unix milliseconds by Redis' clock.

    Attributes:
        queued_ms, worked_ms: time waited and time worked so far, over all hops and attempts.
        cost_nusd: cost of all calls made for the job, in billionths of a dollar.
        error, error_note: code of the last error, and what it said; never content.
        receipt: JSON from the worker that settled the job; see `to_receipt`.
        promoted: the job would have failed, and its draft became its answer instead.
        replay_of, replayed_as: the dead job that this job repeats, and the job that repeats it.
        audit_of, audited_as: the job that this job audits, and the job that audits it.
        rows: the rows of a shard; 0 for any other job.
        traceparent: joins the spans of the job's trace; its producer gave it.
        bulk: the bulk that a shard, or the job of one of its rows, belongs to.
        contract: the version of what is stored for the job (`forebay.routing.jobs.CONTRACT`).
        batch: `waiting` for a batch on Bedrock, the id of the batch that has the job, or `over`.
    """

    id: str
    kind: Kind
    state: JobState
    hop: Hop
    queue: str
    egress: Egress
    attempts: int
    created: int
    ended: int
    queued_ms: int
    worked_ms: int
    cost_nusd: int
    deadline: int | None
    reasons: tuple[str, ...]
    verdict: Verdict | None
    doubt: Doubt | None
    error: str | None
    error_note: str | None
    receipt: str
    promoted: bool
    replay_of: str | None
    replayed_as: str | None
    audit_of: str | None
    audited_as: str | None
    rows: int = 0
    bulk: str | None = None
    traceparent: str | None = None
    contract: int = 1
    batch: str | None = None

    @classmethod
    def read(cls, job_id: str, fields: Mapping[bytes, bytes]) -> Record:
        """Read a record from a hash as redis-py returns it.

        Raises:
            InvalidJob: The record is damaged or forged.
        """
        return cls.from_hash(job_id, decoded(fields))

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[str, str]) -> Record:
        """Read a record from a decoded hash.

        Raises:
            InvalidJob: The record is damaged or forged.
        """
        try:
            return cls._from_hash(job_id, fields)
        except (KeyError, ValueError, TypeError):
            raise _unreadable() from None

    @classmethod
    def _from_hash(cls, job_id: str, fields: Mapping[str, str]) -> Record:
        if fields["kind"] not in KINDS or fields["state"] not in _STATES:
            raise _unreadable()
        if fields["hop"] not in _HOPS:
            raise _unreadable()
        numbers = {key: int(fields.get(key) or 0) for key in _NUMBERS}
        if max(map(abs, numbers.values())) > _MAX_LUA_INTEGER:
            raise _unreadable()
        verdict, doubt = fields.get("verdict"), fields.get("doubt")
        return cls(
            id=job_id,
            kind=fields["kind"],
            state=cast("JobState", fields["state"]),
            hop=cast("Hop", fields["hop"]),
            queue=fields["queue"],
            egress="allow" if fields["egress"] == "allow" else "deny",
            deadline=int(fields["deadline"]) if fields.get("deadline") else None,
            reasons=tuple(filter(None, fields.get("reasons", "").split(","))),
            verdict=Verdict.model_validate_json(verdict, extra="ignore") if verdict else None,
            doubt=Doubt.model_validate_json(doubt, extra="ignore") if doubt else None,
            error=fields.get("error") or None,
            error_note=fields.get("error_note") or None,
            receipt=fields.get("receipt", ""),
            promoted=bool(fields.get("promoted")),
            replay_of=fields.get("replay_of") or None,
            replayed_as=fields.get("replayed_as") or None,
            audit_of=fields.get("audit_of") or None,
            audited_as=fields.get("audited_as") or None,
            bulk=fields.get("bulk") or None,
            traceparent=checked(fields.get("traceparent")),
            contract=contract_of(fields),
            batch=fields.get("batch") or None,
            **numbers,
        )

    def timings(self, now_ms: int) -> dict[str, float]:
        """Return the seconds queued, worked and in total, as fields of a receipt."""
        total = (self.ended or now_ms) - self.created
        return {
            "queued_s": max(0, self.queued_ms) / 1000,
            "worked_s": max(0, self.worked_ms) / 1000,
            "total_s": max(0, total) / 1000,
        }

    def to_receipt(self) -> Receipt:
        """Return the receipt of an ended job, with the ledger's timings.

        A job that no worker settled (expired, cancelled, dead) has a receipt as well.

        Raises:
            InvalidJob: The receipt is damaged or forged.
        """
        try:
            return Receipt.model_validate(self.of_receipt(), extra="ignore")
        except (ValueError, TypeError, RecursionError):
            raise _unreadable() from None

    def of_receipt(self) -> dict[str, Any]:
        """Return the fields of the receipt of an ended job, which are not checked yet.

        Raises:
            ValueError, TypeError, RecursionError: The receipt is damaged or forged.
        """
        settled = self.receipt and not self.promoted
        written = json.loads(self.receipt) if settled else self._unsettled()
        return {**written, **self.known()}

    def heading(self) -> dict[str, Any]:
        """Return the fields that every receipt takes from the record."""
        return {
            "id": self.id, "kind": self.kind, "egress": self.egress, "verdict": self.verdict,
            "doubt": self.doubt, "attempts": self.attempts,
        }  # fmt: skip

    def known(self) -> dict[str, Any]:
        """Return the fields that the ledger knows better than the worker that settled the job."""
        cost = {"cost_nusd": self.cost_nusd} if self.cost_nusd else {}
        return {"id": self.id, "replay_of": self.replay_of, **cost, **self.timings(self.ended)}

    def _unsettled(self) -> dict[str, Any]:
        return {
            **self.heading(),
            "status": cast("Status", self.state),
            "reasons": (*self.reasons, self.error or self.state),
            "error": self.error,
            "error_note": self.error_note,
        }


_MAX_LUA_INTEGER = 2**53  # Lua counts in doubles, which are exact up to here
_NUMBERS = ("attempts", "created", "ended", "queued_ms", "worked_ms", "cost_nusd", "rows")
_STATES, _HOPS = frozenset(get_args(JobState)), frozenset(get_args(Hop))


def _unreadable() -> InvalidJob:
    return InvalidJob("the stored record cannot be read")


class Stored(NamedTuple):
    """What Redis stores of one job or bulk.

    Attributes:
        fields: the hash of its record; empty if there is none, or none that can be read.
        sealed: its answer, if that was asked for and there is one.
    """

    fields: dict[bytes, bytes]
    sealed: bytes | None


def stored(
    transitions: Transitions,
    ids: Sequence[str],
    *,
    family: Literal["job", "bulk"] = "job",
    answers: bool = False,
) -> list[Stored]:
    """Return what is stored of each id, within the bounds of `stored.lua`.

    That is one round trip, or several if there is much.

    Raises:
        Unavailable: Redis cannot be reached.
        Misconfigured: Redis refuses this user.
    """
    found: list[Any] = []
    while left := ids[len(found) :]:
        found += transitions.run("stored", family, int(answers), *left)
    return [
        Stored(dict(zip(flat[::2], flat[1::2], strict=True)), sealed or None)
        for flat, sealed in found
    ]


def fields_of(
    transitions: Transitions,
    ids: Sequence[str],
    names: Sequence[str],
    *,
    family: Literal["job", "bulk"] = "job",
) -> list[list[bytes | None]]:
    """Return some fields of each record, in one round trip, within the bounds of `fields.lua`.

    The list of a record that is not there, or cannot be read, has only `None`.

    Raises:
        Unavailable: Redis cannot be reached.
        Misconfigured: Redis refuses this user.
    """
    rows: Any = transitions.run("fields", family, len(names), *names, *ids) if ids else []
    return [row or [None] * len(names) for row in rows]


def contract_of(fields: Mapping[str, str]) -> int:
    """Return the version of what is stored for a job; the first one wrote none.

    Raises:
        ValueError: The field is no number.
    """
    return int(fields.get("contract") or 1)


def pairs(flat: Iterable[bytes]) -> dict[str, str]:
    """Decode a hash as scripts return it (`[key, value, key, value]`)."""
    items = map(bytes.decode, flat)
    return dict(zip(items, items, strict=True))
