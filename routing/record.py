"""The record of a job as the ledger keeps it: everything about it but its content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from routing.jobs import Egress, Job, Receipt, State, Status, Verdict
from routing.lanes import Hop
from routing.wire import Kind

ENDED = frozenset({"done", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True)
class Record:
    """Fields of the hash `fb:job:<id>`, typed. Times are Unix milliseconds by Redis' clock.

    Attributes:
        queued_ms, worked_ms: waited and worked so far, over all hops and attempts.
        receipt: written by the worker that settled the job; see `to_receipt`.
    """

    id: str
    kind: Kind
    state: State
    hop: Hop
    queue: str
    egress: Egress
    attempts: int
    created: int
    ended: int
    queued_ms: int
    worked_ms: int
    deadline: int | None
    reasons: tuple[str, ...]
    verdict: Verdict | None
    error: str | None
    receipt: str

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[str, str]) -> Record:
        """Read a record.

        Raises:
            KeyError, ValueError: Somebody else wrote it; it is not one of ours.
        """
        number = {key: int(fields.get(key) or 0) for key in _NUMBERS}
        verdict = fields.get("verdict")
        return cls(
            id=job_id,
            kind=cast("Kind", fields["kind"]),
            state=cast("State", fields["state"]),
            hop=cast("Hop", fields["hop"]),
            queue=fields["queue"],
            egress="allow" if fields["egress"] == "allow" else "deny",
            deadline=int(fields["deadline"]) if fields.get("deadline") else None,
            reasons=tuple(filter(None, fields.get("reasons", "").split(","))),
            verdict=Verdict.model_validate_json(verdict) if verdict else None,
            error=fields.get("error") or None,
            receipt=fields.get("receipt", ""),
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
        """
        written = json.loads(self.receipt) if self.receipt else self._unsettled()
        return Receipt.model_validate({**written, **self.timings(self.ended)})

    def _unsettled(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "egress": self.egress,
            "status": cast("Status", self.state),
            "reasons": (*self.reasons, self.error or self.state),
            "attempts": self.attempts,
            "verdict": self.verdict,
            "error": self.error,
        }


_NUMBERS = ("attempts", "created", "ended", "queued_ms", "worked_ms")


def envelope(job: Job) -> dict[str, str]:
    """The fields of a new job that the scripts and the workers need apart from its content."""
    return {
        "kind": job.kind,
        "egress": job.egress,
        "priority": job.priority,
        "deadline": str(int(job.deadline.timestamp() * 1000)) if job.deadline else "",
    }


def pairs(flat: Iterable[bytes]) -> dict[str, str]:
    """A hash as scripts return it (`[key, value, key, value]`), decoded."""
    items = [item.decode() for item in flat]
    return dict(zip(items[::2], items[1::2], strict=True))


def decoded(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """A hash as redis-py returns it, decoded."""
    return {key.decode(): value.decode() for key, value in fields.items()}
