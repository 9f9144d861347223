"""The budget ledger: money is reserved before a call to Bedrock and settled after it.

Amounts are whole billionths of a dollar. A reservation takes the worst-case cost from all budgets
first, so no race overruns a budget, and a crash leaves too much reserved, never too little. Hours,
days and months are those of Redis' clock. The job of a bulk's row is paid from its bulk's budget
too, which knows no days.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Literal

import redis

from forebay.routing.errors import Unavailable
from forebay.routing.limits.allowances import Limit
from forebay.routing.limits.reservation import CallState, Reservation, Settlement
from forebay.routing.limits.reserving import MAX_NUSD, alert, checked, over, packed, refusal
from forebay.routing.store.connection import clock_of, decoded, reaching_redis
from forebay.routing.store.scripts import digest, run, with_scripts

#: How long the books of a day are kept, with its open reservations.
KEEP_DAYS = 40
#: How long a closed call is remembered, so that closing it again changes nothing.
KEEP_CLOSED_S = 3 * 86_400
#: The longest term of a reservation; well within the life of the books.
MAX_TERM_S = 7 * 86_400

#: How often a reservation is tried, if an hour, day or month ends meanwhile.
MAX_TRIES = 4

Settled = Literal["closed", "again", "unreserved"]

__all__ = ["MAX_NUSD", "BookBounds", "Budget", "Reservation", "Settlement"]

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class BookBounds:
    """How much the book of calls keeps in Redis: `days`, and at most about `calls`."""

    days: int = 35
    calls: int = 200_000


class Budget:
    """The books of one Redis. Safe to share between threads.

    1. `reserve` before a call: its worst-case cost, against the budgets of tenant and fleet.
    2. `settle` after it, with its cost; or `release`, if it certainly cost nothing.
    3. Neither, if the cost is unknown: the money stays reserved, and the job may call again only
       after the term of the reservation.

    All methods raise `Unavailable` if Redis cannot be reached. A `reserve` that raises it may have
    taken effect: repeat it, release it, or leave the money reserved.
    """

    def __init__(self, client: redis.Redis, bounds: BookBounds = BookBounds()) -> None:
        self._redis = client
        self._bounds = bounds
        self._ahead_s = 0.0  # of this host's clock, as far as a window of time was missed

    def reserve(
        self,
        call_id: str,
        job_id: str,
        tenant: str,
        nusd: int,
        *,
        term_s: float,
        limits_at: Callable[[float], Sequence[Limit]] = lambda _: (),
        purpose: str = "",
        token: str = "",
        terms: Mapping[str, Any] | None = None,
        settling: Settlement | None = None,
    ) -> None:
        """Reserve money for one call. Repeating it for the same call changes nothing.

        Args:
            call_id: unique to this call, not to its job.
            job_id: the job that the call answers.
            tenant: the tenant whose budgets pay.
            nusd: the worst-case cost of the call.
            limits_at: returns the limits that hold at a moment (Unix seconds); see `allowances`.
                What tenant and fleet spend on a day, UTC, is counted in any case.
            term_s: how long it blocks other calls of the job; longer than the call can last.
            purpose: what the call is for, if it is not the answer of its job.
            token: fencing token of the claim that makes the call. Nothing is reserved if the claim
                is no longer in force. An empty token is not checked.
            terms: what the book of calls keeps of the call, such as its model. Never content.
            settling: an earlier call of the job, which is settled in the same step: nobody else
                can take its money in between. It is settled even if nothing can be reserved.

        Raises:
            Lost: The claim no longer holds the job; another claim may have paid for it.
            BudgetExceeded: Says which budget is too small, and what is left of it.
            Throttled: An earlier call of the job may still be running; `retry_after` is its end.
                Or another claim has just paid for the job: claim it again to find the answer.
            ValueError: An amount is not valid, or the call id was used before.
        """
        if not 0 < term_s <= MAX_TERM_S:
            raise ValueError(f"term_s must be above 0 and at most {MAX_TERM_S}, not {term_s}")
        term_ms = math.ceil(term_s * 1_000)
        args: list[str | int] = [call_id, job_id, tenant, checked(nusd), term_ms, KEEP_DAYS]
        args += [purpose, token, json.dumps(dict(terms or {}))]
        limits, status, details = self._try(args, limits_at, settling)
        if status == "over":
            raise over(limits, tenant, nusd, *details)
        if status != "ok":
            raise refusal(status, details)
        for number in details:
            alert(limits[number - 1])

    def settle(
        self,
        call_id: str,
        nusd: int,
        *,
        draft: bytes = b"",
        bill: Mapping[str, Any] | None = None,
    ) -> Settled:
        """Record the cost of a call once, on the day of its reservation.

        The cost may exceed the reservation.

        Args:
            call_id: the id under which the call was reserved.
            nusd: the cost of the call.
            draft: the sealed answer that was paid for. It is stored with the job in the same step,
                until the job ends, in case this worker dies before it has settled the job.
            bill: what the book of calls keeps of the bill, such as its tokens.

        Returns:
            `closed`; `again` if the call was settled before (the first amount stands); or
            `unreserved` if no reservation is known: the cost is recorded today, under tenant `?`.
        """
        return self._closed(Settlement(call_id, nusd, bill or {}), "settled", draft)

    def release(self, call_id: str) -> bool:
        """Give back the money reserved for a call that certainly cost nothing.

        Returns:
            True if there was an open reservation.
        """
        return self._closed(Settlement(call_id, 0), "released") == "closed"

    def find(self, call_id: str) -> Reservation | None:
        """Return the reservation of a call, or None. Closed calls are forgotten after some days."""
        return next(self._read([call_id]), None)

    def find_all(self, call_ids: Sequence[str]) -> dict[str, Reservation]:
        """Return the reservations of these calls that are known, in one round trip."""
        return {found.call_id: found for found in self._read(list(call_ids))}

    def open(self, limit: int = 100) -> list[Reservation]:
        """Return open reservations, the oldest first: calls in flight or of unknown outcome."""
        today = self._today()
        days = range(today - KEEP_DAYS, today + 1)
        with reaching_redis():
            pipe = self._redis.pipeline(transaction=False)
            for day in days:
                pipe.zrange(f"fb:spend:open:{day}", 0, limit - 1)
            ids = [call_id.decode() for page in pipe.execute() for call_id in page][:limit]
        return [reservation for reservation in self._read(ids) if reservation.state == "open"]

    def left(self, limits_at: Callable[[float], Sequence[Limit]]) -> int | None:
        """Return the least that is left of any of these budgets; `None` if none has a limit."""
        limits = [limit for limit in limits_at(self._now()) if limit.hard_nusd is not None]
        with reaching_redis():
            pipe = self._redis.pipeline(transaction=False)
            for limit in limits:
                fields = [f"{limit.owner}:settled", f"{limit.owner}:reserved"]
                pipe.hmget(f"fb:spend:{limit.window.book}", fields)
            sums = pipe.execute()
        left = [
            (limit.hard_nusd or 0) - int(settled or 0) - int(reserved or 0)
            for limit, (settled, reserved) in zip(limits, sums, strict=True)
        ]
        return min(left, default=None)

    def spent(self, tenant: str | None = None, day: date | None = None) -> tuple[int, int]:
        """Return what was settled and what is reserved on one day.

        Args:
            tenant: a tenant, or `<tenant>:<purpose>`; None for all tenants together.
            day: a day, UTC; None for today.
        """
        number = self._today() if day is None else (day - _EPOCH).days
        owner = "*" if tenant is None else tenant
        fields = [f"{owner}:settled", f"{owner}:reserved"]
        with reaching_redis():
            settled, reserved = self._redis.hmget(f"fb:spend:day:{number}", fields)
        return int(settled or 0), int(reserved or 0)

    def owners(self) -> dict[str, tuple[int, int]]:
        """Return what was settled and what is reserved today, by owner; `*` is all together."""
        with reaching_redis():
            books: Any = self._redis.hgetall(f"fb:spend:day:{self._today()}")
        amounts = decoded(books)
        names = {field.rpartition(":")[0] for field in amounts}
        return {
            name: (int(amounts.get(f"{name}:settled", 0)), int(amounts.get(f"{name}:reserved", 0)))
            for name in names
        }

    def tenants(self) -> set[str]:
        """Return the tenants that have an entry in today's books."""
        return {name for name in self.owners() if name != "*" and ":" not in name}

    def today(self) -> date:
        """Return the day that is charged now, by Redis' clock."""
        return _EPOCH + timedelta(days=self._today())

    def _try(
        self,
        args: list[str | int],
        limits_at: Callable[[float], Sequence[Limit]],
        settling: Settlement | None,
    ) -> tuple[Sequence[Limit], str, list[Any]]:
        """Run `reserve.lua`, again if an hour, day or month ended meanwhile."""
        for _ in range(MAX_TRIES):
            limits = limits_at(time.time() + self._ahead_s)
            status, *details = self._reserved([*args, *packed(limits)], settling)
            if status != b"stale":
                return limits, status.decode(), details
            self._ahead_s = details[0] / 1_000 - time.time()
        raise Unavailable("the clocks of this host and of Redis run apart")

    def _reserved(self, args: list[str | int], settling: Settlement | None) -> list[Any]:
        """Run `reserve.lua` once, in one step after `close.lua` if a call is to be settled."""
        with reaching_redis():
            if settling is None:
                alone: list[Any] = run(self._redis, "reserve", *args)
                return alone
            closing = self._closing(settling, "settled")
            return with_scripts(self._redis, partial(self._closed_and_reserved, closing, args))

    def _closed_and_reserved(self, closing: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.evalsha(digest("close"), 0, *closing)
            pipe.evalsha(digest("reserve"), 0, *args)
            reply: list[Any] = pipe.execute()[1]
            return reply

    def _closed(self, settlement: Settlement, state: CallState, draft: bytes = b"") -> Settled:
        with reaching_redis():
            status = run(self._redis, "close", *self._closing(settlement, state, draft))
        result: Settled = status.decode()
        return result

    def _closing(
        self, settlement: Settlement, state: CallState, draft: bytes = b""
    ) -> list[str | int | bytes]:
        """Return the arguments of `close.lua`."""
        nusd, bill = checked(settlement.nusd), json.dumps(dict(settlement.bill))
        bounds = (self._bounds.calls, self._bounds.days * 86_400_000)
        return [settlement.call_id, state, nusd, KEEP_DAYS, KEEP_CLOSED_S, draft, bill, *bounds]

    def _read(self, call_ids: list[str]) -> Iterator[Reservation]:
        now = self._now()
        with reaching_redis():
            pipe = self._redis.pipeline(transaction=False)
            for call_id in call_ids:
                pipe.hgetall(f"fb:spend:call:{call_id}")
            hashes = pipe.execute()
        for call_id, fields in zip(call_ids, hashes, strict=True):
            if fields:
                yield Reservation.read(call_id, decoded(fields), now)

    def _now(self) -> float:
        with reaching_redis():
            return clock_of(self._redis)

    def _today(self) -> int:
        return (datetime.fromtimestamp(self._now(), UTC).date() - _EPOCH).days
