"""The money: set aside before a call to Bedrock, booked after it, in whole billionths of a dollar.

What a call may cost is taken from the day's budgets before it is made. So no race overruns a
budget, and a crash leaves too much set aside, never too little. Redis' clock says which day it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import redis

from forebay.routing.base import NANO
from forebay.routing.errors import BudgetExceeded, Lost, Throttled
from forebay.routing.store.connection import decoded, reaching_redis
from forebay.routing.store.scripts import transition

#: Days that the books of a day are kept, its open reservations with them.
KEEP_DAYS = 40
#: Seconds that a closed call is known, so that closing it again changes nothing.
CLOSED_S = 3 * 86_400
#: Longest term of a reservation in seconds; well within the books' life.
MAX_TERM_S = 7 * 86_400
#: Seconds after which to claim a job anew that another worker has just paid for.
LOOK_AGAIN_S = 0.1
#: Nine million dollars: above it a double of Lua's no longer counts every billionth.
MAX_NUSD = 2**53 - 1

CallState = Literal["open", "settled", "released"]
Settled = Literal["closed", "again", "unreserved"]

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Reservation:
    """The money of one call. `age_s` counts from when it was set aside."""

    call_id: str
    job_id: str
    tenant: str
    state: CallState
    reserved_nusd: int
    settled_nusd: int
    age_s: float


class Budget:
    """The books of one Redis. Safe to share between threads.

    1. `reserve` before a call: what it costs at worst, against the budgets of tenant and fleet.
    2. `settle` after it, with what it cost; or `release`, when it certainly cost nothing.
    3. Neither, when that is not known: the money stays set aside, and the job may call again
       only when the reservation's term has ended.

    All raise `Unavailable` when Redis cannot be reached. A `reserve` that ends so may have been
    booked: repeat it, release it, or leave it set aside.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._reserve = client.register_script(transition("reserve"))
        self._close = client.register_script(transition("close"))

    def reserve(
        self,
        call_id: str,
        job_id: str,
        tenant: str,
        nusd: int,
        *,
        tenant_budget_nusd: int | None,
        fleet_budget_nusd: int | None,
        term_s: float,
        purpose: str = "",
        purpose_budget_nusd: int | None = None,
        token: str = "",
    ) -> None:
        """Set money aside for one call. Repeating it for the same call changes nothing.

        Args:
            call_id: unique to this call, not to its job.
            job_id: the job that is to be answered by it.
            tenant: whose budget pays.
            nusd: what the call costs at worst.
            tenant_budget_nusd: what the tenant may spend in a day, UTC; none for no limit.
            fleet_budget_nusd: what all tenants together may.
            term_s: longer than the call can last; meanwhile the job gets no other reservation.
            purpose: what the tenant spends it on, where that has a budget of its own; its books
                are those of the owner `<tenant>:<purpose>`.
            purpose_budget_nusd: what the tenant may spend on that in a day.
            token: of the claim that the call is made under; nothing is set aside for one that is
                not in force any more.

        Raises:
            Lost: The job is not this claim's any more: another one may have paid for it.
            BudgetExceeded: Says which budget, and what is left of it.
            Throttled: An earlier call of the job may still be running; `retry_after` its end. Or
                another claim has just paid for it: what that got is found when it is claimed anew.
            ValueError: An amount is no money, or the call id was used before.
        """
        budgets = [
            MAX_NUSD if budget is None else min(_money(budget), MAX_NUSD)
            for budget in (tenant_budget_nusd, fleet_budget_nusd, purpose_budget_nusd)
        ]
        if not 0 < term_s <= MAX_TERM_S:
            raise ValueError(f"a term has 0 to {MAX_TERM_S} seconds, not {term_s}")
        term_ms = math.ceil(term_s * 1_000)
        args: list[str | int]
        args = [call_id, job_id, tenant, _money(nusd), *budgets[:2], term_ms, KEEP_DAYS]
        args += [purpose, budgets[2], token]
        with reaching_redis():
            word, *more = self._reserve(args=args)
        if word != b"ok":
            raise _refusal(word.decode(), more, nusd)

    def settle(self, call_id: str, nusd: int, *, draft: bytes = b"") -> Settled:
        """Book what a call cost, once, on the day it was reserved; also more than was reserved.

        Args:
            call_id: as it was reserved.
            nusd: what the call cost.
            draft: the answer that was paid for, sealed. In the same step it is kept with the job
                until that ends, for the next worker, should this one die before it has settled it.

        Returns:
            `closed`, `again` when it was settled before (the first amount stands), or
            `unreserved` when no reservation is known: booked today under the tenant `?`.
        """
        return self._closed(call_id, "settled", _money(nusd), draft)

    def release(self, call_id: str) -> bool:
        """Give back what was set aside for a call that certainly cost nothing.

        Returns:
            Whether there was an open reservation.
        """
        return self._closed(call_id, "released", 0) == "closed"

    def find(self, call_id: str) -> Reservation | None:
        """What is known of a call; a closed one is forgotten after some days."""
        return next(self._read([call_id]), None)

    def open(self, limit: int = 100) -> list[Reservation]:
        """Open reservations, the oldest first: calls in flight, and calls of unknown outcome."""
        today = self._today()
        days = range(today - KEEP_DAYS, today + 1)
        with reaching_redis():
            pipe = self._redis.pipeline(transaction=False)
            for day in days:
                pipe.zrange(f"fb:spend:open:{day}", 0, limit - 1)
            ids = [call_id.decode() for found in pipe.execute() for call_id in found][:limit]
        return [one for one in self._read(ids) if one.state == "open"]

    def spent(self, tenant: str | None = None, day: date | None = None) -> tuple[int, int]:
        """What a tenant, or all together, settled and has set aside, of one day (UTC, or today).

        `<tenant>:<purpose>` is what a tenant spent on that.
        """
        number = self._today() if day is None else (day - _EPOCH).days
        owner = "*" if tenant is None else tenant
        fields = [f"{owner}:settled", f"{owner}:reserved"]
        with reaching_redis():
            settled, reserved = self._redis.hmget(f"fb:spend:day:{number}", fields)
        return int(settled or 0), int(reserved or 0)

    def today(self) -> date:
        """The day that is charged now, by Redis' clock."""
        return _EPOCH + timedelta(days=self._today())

    def _closed(self, call_id: str, outcome: CallState, nusd: int, draft: bytes = b"") -> Settled:
        with reaching_redis():
            word = self._close(args=[call_id, outcome, nusd, KEEP_DAYS, CLOSED_S, draft])
        result: Settled = word.decode()
        return result

    def _read(self, call_ids: list[str]) -> Iterator[Reservation]:
        now = self._now()
        with reaching_redis():
            pipe = self._redis.pipeline(transaction=False)
            for call_id in call_ids:
                pipe.hgetall(f"fb:spend:call:{call_id}")
            found = pipe.execute()
        for call_id, fields in zip(call_ids, found, strict=True):
            if fields:
                yield _reservation(call_id, decoded(fields), now)

    def _now(self) -> float:
        with reaching_redis():
            seconds, micros = self._redis.time()
        return float(seconds) + micros / 1e6

    def _today(self) -> int:
        return (datetime.fromtimestamp(self._now(), UTC).date() - _EPOCH).days


def _money(nusd: int) -> int:
    if not isinstance(nusd, int) or not 0 <= nusd <= MAX_NUSD:
        raise ValueError(f"money is 0 to {MAX_NUSD} whole billionths of a dollar, not {nusd!r}")
    return nusd


def _refusal(word: str, more: list[Any], nusd: int) -> Exception:
    if word == "over":
        scope, left = more[0].decode(), max(int(more[1]), 0)
        return BudgetExceeded(
            f"the call may cost ${nusd / NANO:.6f}, the {scope}'s budget of the day "
            f"has ${left / NANO:.6f} left"
        )
    if word == "busy":
        wait = max(more[0], 0) / 1_000
        return Throttled("an earlier call of the job may still be running", retry_after=wait)
    if word == "lost":
        return Lost()
    if word == "paid":
        return Throttled("another worker has just paid for the job", retry_after=LOOK_AGAIN_S)
    if word == "ended":
        return ValueError("this call's reservation has ended: a new call needs a new id")
    return ValueError("this call id belongs to another reservation")


def _reservation(call_id: str, fields: dict[str, str], now: float) -> Reservation:
    return Reservation(
        call_id=call_id,
        job_id=fields.get("job", ""),
        tenant=fields["tenant"],
        state=fields["state"],  # type: ignore[arg-type]  # written by our scripts alone
        reserved_nusd=int(fields.get("reserved", 0)),
        settled_nusd=int(fields["settled"]),
        age_s=now - int(fields["at"]) / 1_000 if "at" in fields else 0.0,
    )
