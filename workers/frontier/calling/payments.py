"""The money of calls: reserved before the call, settled at its cost or given back after it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import redis

from forebay.routing.errors import BudgetExceeded, Throttled, Unavailable
from forebay.routing.limits.budget import BookBounds, Budget, Settlement
from forebay.routing.reasons import Reason
from forebay.routing.store.backoff import patiently
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.call import Call
from forebay.workers.frontier.calling.cost import Cost
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.calling.providers import Providers

MAX_BOOKING_S = 60.0  # how long settling a call, or giving money back, waits for Redis


class Payments:
    """Pays for the calls of one worker. Safe to share between threads."""

    def __init__(self, client: redis.Redis, bounds: BookBounds, providers: Providers) -> None:
        self._budget = Budget(client, bounds)
        self._providers = providers

    def reserve(
        self, call: Call, assignment: Assignment, settling: Settlement | None = None
    ) -> None:
        """Reserve the most that a call can cost; `settling` is settled in the same step.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: The call must not be made.
            Unavailable: Redis cannot be reached. The money may be reserved.
        """
        provider, job = self._providers.of(call.terms), assignment.job
        try:
            self._budget.reserve(
                call.id,
                job.id,
                job.tenant,
                call.worst_nusd + call.ahead_nusd,
                limits_at=partial(call.limits, assignment),
                term_s=provider.term_s,
                purpose=assignment.sub_budget.purpose,
                token=assignment.claim.token,
                terms=call.stated(provider.region, assignment),
                settling=settling,
            )
        except BudgetExceeded as error:
            raise NoAnswer(error, Reason.BUDGET_SPENT, another=True) from None
        except Throttled as error:  # another call of this job may still run, or has just ended
            raise NoAnswer(error, Reason.CALL_OPEN) from None

    def book(self, call: Call, cost: Cost, draft: bytes = b"") -> None:
        """Settle a call at its cost, waiting up to `MAX_BOOKING_S` for Redis.

        Until then the call's worst case stays reserved.

        Args:
            call: the call that was made.
            cost: what it cost.
            draft: the sealed answer, kept so that the next worker need not pay for it again.

        Raises:
            Unavailable: Redis did not come back in time.
        """
        settle = partial(self._budget.settle, call.id, cost.nusd, draft=draft, bill=cost.bill())
        patiently(settle, patience_s=MAX_BOOKING_S)

    def pass_on(self, ended: Call, cost: Cost, call: Call, assignment: Assignment) -> None:
        """Settle a call at its cost and reserve the money of the job's next call, in one step.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: The next call must not be made.
            Unavailable: Redis did not come back in time.
        """
        settling = Settlement(ended.id, cost.nusd, cost.bill())
        reserve = partial(self.reserve, call, assignment, settling)
        patiently(reserve, patience_s=MAX_BOOKING_S)

    def release(self, call: Call) -> None:
        """Give back what is reserved for a call that was not made, or was certainly free.

        If Redis does not come back in time, it stays reserved.
        """
        with suppress(Unavailable):
            patiently(partial(self._budget.release, call.id), patience_s=MAX_BOOKING_S)

    def left(self, call: Call, assignment: Assignment) -> int | None:
        """Return the least that is left of the budgets of a call; `None` if none has a limit."""
        return self._budget.left(partial(call.limits, assignment))
