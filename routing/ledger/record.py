"""The record of a job as the ledger keeps it: everything about it but its content."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from forebay.routing.base import KINDS, Egress, Kind
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Doubt, Job, Receipt, Verdict
from forebay.routing.lanes import Hop
from forebay.routing.receipts import JobState, Status
from forebay.routing.store.connection import decoded

ENDED = frozenset({"done", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True)
class Record:
    """Fields of the hash `fb:job:<id>`, typed. Times are Unix milliseconds by Redis' clock.

    Attributes:
        queued_ms, worked_ms: waited and worked so far, over all hops and attempts.
        cost_nusd: of all calls made for the job, as they were booked.
        receipt: written by the worker that settled the job; see `to_receipt`.
        promoted: nobody settled it; the draft that it had became its answer.
        replay_of, replayed_as: the dead job that this one repeats, and the job that repeats this.
        audit_of, audited_as: the job that this one is an audit of, and the audit of this one.
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
    receipt: str
    promoted: bool
    replay_of: str | None
    replayed_as: str | None
    audit_of: str | None
    audited_as: str | None

    @classmethod
    def read(cls, job_id: str, fields: Mapping[bytes, bytes]) -> Record:
        """A record from a hash as redis-py returns it.

        Raises:
            InvalidJob: Somebody else wrote it; it is not one of ours.
        """
        try:
            return cls.from_hash(job_id, decoded(fields))
        except UnicodeDecodeError:
            raise _not_ours() from None

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[str, str]) -> Record:
        """Read a record.

        Raises:
            InvalidJob: Somebody else wrote it; it is not one of ours.
        """
        try:
            return cls._from_hash(job_id, fields)
        except (KeyError, ValueError, TypeError):
            raise _not_ours() from None

    @classmethod
    def _from_hash(cls, job_id: str, fields: Mapping[str, str]) -> Record:
        if fields["kind"] not in KINDS or fields["state"] not in _STATES:
            raise _not_ours()
        if fields["hop"] not in _HOPS:
            raise _not_ours()
        number = {key: int(fields.get(key) or 0) for key in _NUMBERS}
        if any(abs(value) > _MAX_LUA_INTEGER for value in number.values()):
            raise _not_ours()
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
            verdict=Verdict.model_validate_json(verdict) if verdict else None,
            doubt=Doubt.model_validate_json(doubt) if doubt else None,
            error=fields.get("error") or None,
            receipt=fields.get("receipt", ""),
            promoted=bool(fields.get("promoted")),
            replay_of=fields.get("replay_of") or None,
            replayed_as=fields.get("replayed_as") or None,
            audit_of=fields.get("audit_of") or None,
            audited_as=fields.get("audited_as") or None,
            **number,
        )

    def timings(self, now_ms: int) -> dict[str, float]:
        """Seconds queued, worked and in all, for a receipt."""
        total = (self.ended or now_ms) - self.created
        return {
            "queued_s": self.queued_ms / 1000,
            "worked_s": max(0, self.worked_ms) / 1000,
            "total_s": max(0, total) / 1000,
        }

    def to_receipt(self) -> Receipt:
        """The receipt of an ended job, with the ledger's timings.

        A job that no worker settled (expired, cancelled, dead) has one all the same.

        Raises:
            InvalidJob: Somebody else wrote it.
        """
        try:
            settled = self.receipt and not self.promoted
            written = json.loads(self.receipt) if settled else self._unsettled()
            return Receipt.model_validate({**written, **self.known()})
        except (ValueError, TypeError, RecursionError):
            raise _not_ours() from None

    def heading(self) -> dict[str, Any]:
        """What every receipt says of its job, whoever writes it."""
        return {
            "id": self.id, "kind": self.kind, "egress": self.egress, "verdict": self.verdict,
            "doubt": self.doubt, "attempts": self.attempts,
        }  # fmt: skip

    def known(self) -> dict[str, Any]:
        """What the ledger knows better than the worker that wrote the receipt."""
        cost = {"cost_nusd": self.cost_nusd} if self.cost_nusd else {}
        return {"id": self.id, "replay_of": self.replay_of, **cost, **self.timings(self.ended)}

    def _unsettled(self) -> dict[str, Any]:
        return {
            **self.heading(),
            "status": cast("Status", self.state),
            "reasons": (*self.reasons, self.error or self.state),
            "error": self.error,
        }


_MAX_LUA_INTEGER = 2**53  # what Lua counts to
_NUMBERS = ("attempts", "created", "ended", "queued_ms", "worked_ms", "cost_nusd")
_STATES, _HOPS = frozenset(get_args(JobState)), frozenset(get_args(Hop))


def _not_ours() -> InvalidJob:
    return InvalidJob("the stored record cannot be read")


def envelope(job: Job) -> dict[str, str]:
    """The fields of a new job that the scripts and the workers need apart from its content."""
    return {
        "kind": job.kind,
        "egress": job.egress,
        "priority": job.priority,
        "deadline": str(max(1, int(job.deadline.timestamp() * 1000))) if job.deadline else "",
    }


def idempotency(job: Job) -> tuple[str, str]:
    """Key and digest under which a repeated submit is known; neither betrays what is in it."""
    if job.idempotency_key is None:
        return "", ""
    name = hashlib.sha256(job.idempotency_key.encode()).hexdigest()[:32]
    same = job.model_dump_json(by_alias=True, exclude={"id", "deadline"})
    digest = hmac.new(job.idempotency_key.encode(), same.encode(), hashlib.sha256).hexdigest()
    return f"fb:idempotency:{job.tenant}:{name}", digest


def pairs(flat: Iterable[bytes]) -> dict[str, str]:
    """A hash as scripts return it (`[key, value, key, value]`), decoded."""
    items = [item.decode() for item in flat]
    return dict(zip(items[::2], items[1::2], strict=True))
