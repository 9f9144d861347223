"""The book of calls: every call to a frontier model, with its tokens and its cost.

`close.lua` (in `limits`) writes a call into it when the call is closed. A call whose outcome is not
known yet is found among the open reservations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import redis

from forebay.routing.books.egress_entry import is_elsewhere
from forebay.routing.errors import InvalidJob
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Usage
from forebay.routing.store.connection import decoded, entries_of, reaching_redis, text_of

State = Literal["open", "settled", "released"]

_STREAM, _MAX_OPEN = "fb:books:calls", 100_000


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call, as its book has it.

    Attributes:
        entry: id of the entry, which grows; empty for an open call.
        state: `open` if its outcome is not known, `released` if it cost nothing.
        purpose: `answer`, `part` of a long text, `repair` or `audit`.
        at_ms: when its money was reserved, in Unix milliseconds; 0 if that is not known.
        model: the id that was called, and `base` the id that the price list spells.
        tier: the service tier that was billed.
        tokens: what was billed; `None` if the provider's counts cannot be used.
        prices: version of the price list by which it was reserved and settled.
        reserved_nusd, settled_nusd: billionths of a dollar. For a `part`, what the job's later
            calls may cost was reserved together with it.
        estimated: the worst case was booked, because the usage could not be priced.
        stand_in: the mock of Bedrock was called, so this is no money. `None` if that is not known.
    """

    entry: str
    id: str
    state: State
    job: str
    tenant: str
    purpose: str
    at_ms: int
    model: str
    base: str
    region: str
    tier: str
    tokens: Usage | None
    prices: str
    reserved_nusd: int
    settled_nusd: int
    estimated: bool
    stand_in: bool | None

    @property
    def elsewhere(self) -> bool:
        """True if another service than Bedrock was called, which no bill of AWS lists."""
        return is_elsewhere(self.region)


class CallBook:
    """The calls of one Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def calls(self, since_ms: int = 0, until_ms: int | None = None) -> list[CallRecord]:
        """Return the calls reserved in a span of time, the oldest first, open ones included.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        found: dict[str, CallRecord] = {}
        for record in self.closed(since_ms):
            found[record.id] = record
        for record in self.open():
            found.setdefault(record.id, record)
        end = float("inf") if until_ms is None else until_ms
        return sorted(
            (record for record in found.values() if since_ms <= record.at_ms < end),
            key=lambda record: (record.at_ms, record.id),
        )

    def gap_ms(self, since_ms: int) -> int:
        """Return since when the book has all calls, if it lacks some that came later than this.

        Returns:
            That time in Unix milliseconds; 0 if no call is missing.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        with reaching_redis():
            if not self._redis.exists(_STREAM):
                return 0
            stream: Any = self._redis.xinfo_stream(_STREAM)
        first = stream["first-entry"]
        begins = int(text_of(first[0]).partition("-")[0]) if first else 0
        removed = stream.get("entries-added", 0) > stream["length"]
        return begins if removed and begins > since_ms else 0

    def closed(self, since_ms: int = 0) -> Iterator[CallRecord]:
        """Yield the entries of calls that were closed since then, the oldest first."""
        for entry, values in entries_of(self._redis, _STREAM, str(since_ms)):
            yield _record(entry.decode(), decoded(values))

    def open(self) -> Iterator[CallRecord]:
        """Yield the calls in flight, and those whose outcome is not known."""
        for call in Budget(self._redis).open(_MAX_OPEN):
            with reaching_redis():
                values: Any = self._redis.hgetall(f"fb:spend:call:{call.call_id}")
            yield _record("", {"id": call.call_id, **decoded(values)})


def _record(entry: str, values: Mapping[str, str]) -> CallRecord:
    """Read a call from its fields; one that an older version wrote lacks terms and bill."""
    try:
        terms, bill = (_object(values.get(name)) for name in ("terms", "bill"))
        tokens = bill.get("tokens")
        state: Any = values["state"]
        return CallRecord(
            entry=entry, id=values["id"], state=state, job=values.get("job", ""),
            tenant=values["tenant"], purpose=terms.get("purpose") or "answer",
            at_ms=int(values.get("at") or entry.partition("-")[0] or 0),
            model=terms.get("model", ""), base=terms.get("base", ""),
            region=terms.get("region", ""), tier=bill.get("tier") or terms.get("tier", ""),
            tokens=Usage(**tokens) if tokens else None, prices=terms.get("prices", ""),
            reserved_nusd=int(values.get("reserved") or 0),
            settled_nusd=int(values.get("settled") or 0),
            estimated=bool(bill.get("estimated")), stand_in=bill.get("stand_in"),
        )  # fmt: skip
    except (KeyError, ValueError, TypeError):
        raise InvalidJob("an entry of the book of calls cannot be read") from None


def _object(text: str | None) -> dict[str, Any]:
    found = json.loads(text) if text else {}
    if not isinstance(found, dict):
        raise TypeError
    return found
