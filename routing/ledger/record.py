"""The record of a job in the ledger: everything about the job except its content."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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


class Record(NamedTuple):
    """The typed fields of the hash `fb:job:<id>`. Times are Unix milliseconds by Redis' clock.

    It is a named tuple because each claim makes one: a frozen dataclass of so many fields takes
    three times as long.

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
    attempts: int = 0
    created: int = 0
    ended: int = 0
    queued_ms: int = 0
    worked_ms: int = 0
    cost_nusd: int = 0
    deadline: int | None = None
    reasons: tuple[str, ...] = ()
    verdict: Verdict | None = None
    doubt: Doubt | None = None
    error: str | None = None
    error_note: str | None = None
    receipt: str = ""
    promoted: bool = False
    replay_of: str | None = None
    replayed_as: str | None = None
    audit_of: str | None = None
    audited_as: str | None = None
    rows: int = 0
    bulk: str | None = None
    traceparent: str | None = None
    contract: int = 1
    batch: str | None = None

    @property
    def tenant(self) -> str:
        """The job's tenant, with which its id begins."""
        return self.id.partition(".")[0]

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
            known = {name: _READ[name](text) for name, text in fields.items() if name in _READ}
            return cls(job_id, **known)
        except (KeyError, ValueError, TypeError):  # TypeError: a field is missing
            raise _unreadable() from None

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


def _whole(text: str) -> int:
    number = int(text or 0)
    if abs(number) > _MAX_LUA_INTEGER:
        raise ValueError("no number of Lua")
    return number


def _one_of(*names: str) -> Callable[[str], str]:
    """Return a function that returns one of these names as it is, and refuses any other text."""
    return {name: name for name in names}.__getitem__


def _text(text: str) -> str | None:
    return text or None


def _verdict(text: str) -> Verdict | None:
    return Verdict.model_validate_json(text, extra="ignore") if text else None


def _doubt(text: str) -> Doubt | None:
    return Doubt.model_validate_json(text, extra="ignore") if text else None


#: What reads each field of a hash.
_READ: dict[str, Callable[[str], Any]] = {
    "kind": _one_of(*KINDS), "state": _one_of(*get_args(JobState)), "hop": _one_of(*get_args(Hop)),
    "queue": str, "egress": lambda text: "allow" if text == "allow" else "deny",
    "attempts": _whole, "created": _whole, "ended": _whole, "queued_ms": _whole,
    "worked_ms": _whole, "cost_nusd": _whole, "rows": _whole,
    "deadline": lambda text: int(text) if text else None,
    "reasons": lambda text: tuple(filter(None, text.split(","))),
    "verdict": _verdict, "doubt": _doubt, "error": _text, "error_note": _text, "receipt": str,
    "promoted": bool, "replay_of": _text, "replayed_as": _text, "audit_of": _text,
    "audited_as": _text, "bulk": _text, "traceparent": checked,
    "contract": lambda text: int(text or 1), "batch": _text,
}  # fmt: skip


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
