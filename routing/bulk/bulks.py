"""The records of bulks: what their producers say of them, and the counters of their rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from forebay.routing.errors import InvalidJob, NotFound
from forebay.routing.jobs import owner
from forebay.routing.lanes import BEDROCK, SHARDS
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import fields_of, stored
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.store.connection import clock_of, decoded, reaching_redis, text_of
from forebay.routing.store.scripts import set_fields

KEEP_S = 30 * 86_400  # how long a bulk is remembered

#: A process that feeds a bulk says so each second. After so many seconds none does.
FED_WITHIN_S = 15.0
MAX_LISTED = 10_000  # bulks of a tenant, which keeps some for a month

BulkState = Literal["running", "paused", "cancelled", "done", "incomplete"]
ENDED = frozenset({"cancelled", "done", "incomplete"})


@dataclass(frozen=True, slots=True)
class BulkRecord:
    """A bulk as Redis knows it.

    Attributes:
        id: `<tenant>.<128 random bits>`.
        state: `running`, `paused` or `cancelled`; `done`, or `incomplete` if rows have no answer or
            kept a local answer because the budget was spent.
        created: when it was begun, in seconds since 1970.
        about: what its producer says of it: source, output, kind, options.
        total: the number of its rows; `None` as long as the source has not been read to its end.
        share: how much of the source was read, 0 to 1.
        rereading: how much of what an earlier process read was read again, 0 to 1; `None` if
            nothing has to be.
        rows_per_s: the rate that the process which feeds it saw; `None` if not known.
        fed: whether a process has fed it in the last seconds.
        sent: rows that were read so far, and put on the ledger if they could be.
        written: rows that are in the output.
        bad: rows that could not be read as requests.
        under_way: rows that are over in shards that are not, by the process that feeds the bulk.
        counters: rows by what became of them (`rows_done`, `rows_failed`, `rows_expired`,
            `rows_cancelled`, `rows_up`, `rows_local`, `rows_bedrock`, `rows_mock`,
            `rows_degraded`), tokens, failed checks (`check:<name>`) and errors (`error:<code>`).
        max_nusd, settled_nusd, reserved_nusd: its budget and its costs, in billionths of a dollar.
    """

    id: str
    state: BulkState
    created: float
    about: Mapping[str, Any] = field(default_factory=dict)
    total: int | None = None
    share: float = 0.0
    rereading: float | None = None
    rows_per_s: float | None = None
    fed: bool = False
    sent: int = 0
    written: int = 0
    bad: int = 0
    under_way: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    max_nusd: int | None = None
    settled_nusd: int = 0
    reserved_nusd: int = 0

    @property
    def over(self) -> int:
        """Rows that have ended, one way or another; bad rows have ended when they were read."""
        ends = ("rows_done", "rows_failed", "rows_expired", "rows_cancelled")
        return self.bad + sum(self.counters.get(name, 0) for name in ends)

    @property
    def so_far(self) -> int:
        """Rows that have ended, also those in shards that go on, if a process looks at these."""
        return self.over + (self.under_way if self.fed else 0)


class Bulks:
    """The bulks on one ledger. Safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._redis, self._transitions = ledger.redis, Transitions(ledger.redis)

    def create(self, bulk_id: str, about: Mapping[str, Any], max_nusd: int | None) -> None:
        """Record a bulk that begins. A bulk that is known already goes on as it is."""
        key, tenant = f"fb:bulk:{bulk_id}", owner(bulk_id)
        with reaching_redis():
            now = clock_of(self._redis)
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.hsetnx(key, "created", str(now))
                pipe.hsetnx(key, "state", "running")
                pipe.hset(key, "about", json.dumps(dict(about)))
                if max_nusd is not None:
                    pipe.hset(key, "max_nusd", str(max_nusd))
                pipe.expire(key, KEEP_S)
                pipe.zadd(f"fb:bulks:{tenant}", {bulk_id: int(now)})
                pipe.zremrangebyscore(f"fb:bulks:{tenant}", "-inf", int(now) - KEEP_S)
                pipe.expire(f"fb:bulks:{tenant}", KEEP_S)
                pipe.execute()

    def update(self, bulk_id: str, **fields: Any) -> None:
        """Set fields of a bulk that is known, and its state, unless it has ended in another."""
        state = fields.pop("state", None)
        if fields:
            with reaching_redis():
                set_fields(self._redis, f"fb:bulk:{bulk_id}", "created", fields)
        if state is not None:
            self._change(bulk_id, state)

    def feeding(self, bulk_id: str, **fields: Any) -> None:
        """Record how far the process is that feeds a bulk, and that there is one."""
        with reaching_redis():
            now = clock_of(self._redis)
        self.update(bulk_id, fed_at=int(now), **fields)

    def set_state(self, bulk_id: str, state: BulkState) -> BulkRecord:
        """Change the state of a bulk, and return its record.

        Raises:
            NotFound: There is no such bulk.
            InvalidJob: The bulk has ended.
        """
        self.get(bulk_id)  # an error if there is none
        if (now := self._change(bulk_id, state)) not in {state, ""}:
            raise InvalidJob(f"the bulk is {now}", field="state")
        return self.get(bulk_id)

    def _change(self, bulk_id: str, state: BulkState) -> str:
        """Change the state, also while memory is full; return the state that the bulk has now."""
        return text_of(self._transitions.run("bulk_state", bulk_id, state))

    def state(self, bulk_id: str) -> str:
        """Return the state of a bulk; empty if it is not known."""
        ((state,),) = fields_of(self._transitions, [bulk_id], ["state"], family="bulk")
        return text_of(state) if state else ""

    def get(self, bulk_id: str) -> BulkRecord:
        """Return the record of a bulk.

        Raises:
            NotFound: There is no such bulk.
            InvalidJob: Its record is damaged.
        """
        (fields, _), *_ = stored(self._transitions, [bulk_id], family="bulk")
        if not fields:
            raise NotFound("no such bulk; see `forebay bulk list`", field="id")
        with reaching_redis():
            now = clock_of(self._redis)
        try:
            return _record(bulk_id, decoded(fields), int(now))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InvalidJob("the stored record of the bulk cannot be read") from None

    def list(self, tenant: str) -> list[BulkRecord]:
        """Return the bulks of a tenant, the newest first."""
        ids: Any = self._transitions.run("members", f"fb:bulks:{tenant}", -MAX_LISTED, -1)[::2]
        records = []
        for bulk_id in reversed(ids):
            try:
                records.append(self.get(text_of(bulk_id)))
            except (NotFound, InvalidJob):
                continue
        return records


def jobs_ahead(ledger: Ledger) -> int:
    """Return how many jobs wait in the queues that rows of bulks pass, and go before them."""
    depths = ledger.depths().items()
    return sum(depth for queue, depth in depths if queue != BEDROCK and not queue.endswith(SHARDS))


_NOT_COUNTERS = frozenset(
    {"state", "created", "about", "share", "rereading", "rows_per_s", "fed_at"}
)
_NUMBERS = frozenset(
    {"total", "sent", "written", "bad", "under_way", "max_nusd", "settled_nusd", "reserved_nusd"}
)


def _record(bulk_id: str, fields: Mapping[str, str], now: int) -> BulkRecord:
    known = {name: int(fields[name]) for name in _NUMBERS & fields.keys()}
    return BulkRecord(
        id=bulk_id,
        state=fields["state"],  # type: ignore[arg-type]  # shown as it is
        created=float(fields["created"]),
        about=json.loads(fields.get("about", "{}")),
        share=float(fields.get("share", 0)),
        rereading=float(fields["rereading"]) if fields.get("rereading") else None,
        rows_per_s=float(fields["rows_per_s"]) if fields.get("rows_per_s") else None,
        fed=now - float(fields.get("fed_at", 0)) <= FED_WITHIN_S,
        counters={
            name: int(value)
            for name, value in fields.items()
            if name not in _NOT_COUNTERS and name not in _NUMBERS
        },
        **known,
    )
