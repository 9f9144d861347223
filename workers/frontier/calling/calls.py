"""One call to a frontier model and its money: reserved before the call, booked after it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from forebay.routing.books.egress_entry import Leaving
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.errors import (
    BudgetExceeded,
    ForebayError,
    PassingError,
    Throttled,
    Unavailable,
)
from forebay.routing.jobs import Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import BookBounds, Budget, Settlement
from forebay.routing.limits.prices import Prices
from forebay.routing.limits.spillway import Spillway
from forebay.routing.logs import Event, event
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.routing.store.backoff import patiently
from forebay.workers.engines.engine import Prompt, TakeText
from forebay.workers.frontier.calling.call import NO_SUB_BUDGET, Call, Role, SubBudget
from forebay.workers.frontier.calling.cost import Cost, cost_of
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.calling.planner import Bound, Planner
from forebay.workers.frontier.calling.providers import Providers
from forebay.workers.frontier.calling.slots import Slots
from forebay.workers.frontier.calling.token_counts import TokenCounts
from forebay.workers.frontier.calling.traced_call import traced
from forebay.workers.frontier.provider import (
    BilledFailure,
    OutcomeUnknown,
    Provider,
    Reply,
    billed,
    fault_of,
)

MAX_RESERVING_S = 30.0  # if reserving took longer, the reservation's term may run out in the call
MAX_BOOKING_S = 60.0  # how long booking a cost, or releasing what was reserved, waits for Redis

log = logging.getLogger(__name__)


class Calls:
    """Makes paid calls through a provider. Safe to share between threads.

    1. `plan` makes the prompt and computes the most that the call can cost (`Planner`).
    2. `make` takes a slot of the model, reserves that money, writes down what leaves, and calls,
       once.
    3. `book` settles the reservation at what the call did cost.
    """

    def __init__(
        self, ledger: Ledger, provider: Provider, prices: Callable[[], Prices], secret: bytes
    ) -> None:
        """Call through `provider`; `prices` returns the price list that is in force."""
        settings = ledger.settings
        self._providers = Providers(provider)
        self._secret = secret
        self._budget = Budget(ledger.redis, BookBounds(settings.books_days, settings.books_calls))
        self._egress_log = EgressLog(ledger.redis, settings.egress_entries)
        self._spillway = Spillway(ledger.redis)
        self._slots = Slots(ledger.redis, self._spillway)
        counts = TokenCounts(self._providers, self._egress_log, secret)
        self._planner = Planner(self._providers, prices, self._spillway, counts)
        self.plan, self.bound = self._planner.plan, self._planner.bound

    def ask(
        self,
        claim: Claim,
        job: Job,
        model: str,
        rules: Policy,
        prompt_for: Callable[[str], Prompt],
        *,
        sub_budget: SubBudget = NO_SUB_BUDGET,
        on_text: TakeText | None = None,
        role: Role = "answer",
        spent_nusd: int = 0,
    ) -> tuple[Call, Reply]:
        """Plan a call and make it.

        If the bytes of its prompt break a budget that its tokens may keep to, they are counted.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: There is no reply. Its cost is booked already, as far as it is known.
        """
        plan = partial(
            self.plan, claim, job, model, rules, prompt_for, role=role, spent_nusd=spent_nusd
        )
        call = plan()
        try:
            return call, self.make(call, claim, job, rules, sub_budget, on_text)
        except NoAnswer as refusal:
            if not self._may_fit(call, job, rules, sub_budget, refusal):
                raise
            counted = plan(counted=True)
            if counted.worst_nusd >= call.worst_nusd:
                raise
        return counted, self.make(counted, claim, job, rules, sub_budget, on_text)

    def _may_fit(
        self, call: Call, job: Job, rules: Policy, sub_budget: SubBudget, refusal: NoAnswer
    ) -> bool:
        """Return whether the tokens of a call that a budget refused may keep to the budgets."""
        counts = rules.tenant(job.tenant).count_tokens == "if_needed"
        if not counts or refusal.reason is not Reason.BUDGET_SPENT:
            return False
        left = self._budget.left(lambda at_s: call.limits(rules, job.tenant, sub_budget, at_s))
        bound = Bound(call.terms, call.prices, call.tokens_in, call.tokens_out, call.worst_nusd)
        return left is None or bound.may_fit(left)

    def make(
        self,
        call: Call,
        claim: Claim,
        job: Job,
        rules: Policy,
        sub_budget: SubBudget,
        on_text: TakeText | None = None,
    ) -> Reply:
        """Take a slot, reserve the money, write down what leaves, and call, once.

        The reply is billed: `book` it, whatever it says. `on_text` gets its text as it comes.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: There is no reply. Its cost is booked already, as far as it is known.
        """
        try:
            slot = self._slots.take(call, claim, rules)
        except NoAnswer:
            self._release(call)  # what an earlier call of the job passed on
            raise
        try:
            self._prepare(call, claim, job, rules, sub_budget)
            ending = self._call(call, on_text)
        except BaseException:  # no call was made, or this thread is being ended
            self._slots.give(slot)
            raise
        rest_s = self._slots.give(slot, ending)
        if not isinstance(ending, Reply):
            raise self._failed(call, ending, rules, rest_s, job.tenant)
        self._recovered(call)
        return ending

    def _prepare(
        self, call: Call, claim: Claim, job: Job, rules: Policy, sub_budget: SubBudget
    ) -> None:
        """Reserve the money and write down what leaves.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: The call must not be made.
        """
        began = time.monotonic()
        try:
            self._reserve(call, claim, job, rules, sub_budget)
        except Unavailable:  # it may have taken effect
            self._release(call)
            raise
        region = self._providers.of(call.terms).region
        self._write_down(call, call.leaving(claim, job, rules, region, sub_budget, self._secret))
        if time.monotonic() - began > MAX_RESERVING_S:  # this process was stopped meanwhile
            self._release(call)
            raise NoAnswer(Unavailable("too late to call"), Reason.SPILLWAY_SHUT)

    def _call(self, call: Call, on_text: TakeText | None) -> Reply | ForebayError:
        try:
            return traced(self._providers.of(call.terms), call, on_text)
        except ForebayError as error:
            return error

    def cost(self, call: Call, reply: Reply) -> Cost:
        """Return what a reply costs: its worst case if its usage cannot be priced exactly."""
        return cost_of(call, reply.usage, reply.tier, stand_in=reply.stand_in)

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

    def pass_on(
        self, ended: Call, cost: Cost, call: Call, claim: Claim, job: Job, rules: Policy
    ) -> None:
        """Settle a call at its cost and reserve the money of the job's next call, in one step.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: The next call must not be made.
            Unavailable: Redis did not come back in time.
        """
        settling = Settlement(ended.id, cost.nusd, cost.bill())
        reserve = partial(self._reserve, call, claim, job, rules, NO_SUB_BUDGET, settling)
        patiently(reserve, patience_s=MAX_BOOKING_S)

    def _release(self, call: Call) -> None:
        """Give back what is reserved, waiting up to `MAX_BOOKING_S` for Redis; then it stays so."""
        with suppress(Unavailable):
            patiently(partial(self._budget.release, call.id), patience_s=MAX_BOOKING_S)

    def _reserve(
        self,
        call: Call,
        claim: Claim,
        job: Job,
        rules: Policy,
        sub_budget: SubBudget,
        settling: Settlement | None = None,
    ) -> None:
        provider = self._providers.of(call.terms)
        try:
            self._budget.reserve(
                call.id,
                job.id,
                job.tenant,
                call.worst_nusd + call.ahead_nusd,
                limits_at=lambda at_s: call.limits(rules, job.tenant, sub_budget, at_s),
                term_s=provider.term_s,
                purpose=sub_budget.purpose,
                token=claim.token,
                terms=call.stated(provider.region, sub_budget),
                settling=settling,
            )
        except BudgetExceeded as error:
            raise NoAnswer(error, Reason.BUDGET_SPENT, another=True) from None
        except Throttled as error:  # another call of this job may still run, or has just ended
            raise NoAnswer(error, Reason.CALL_OPEN) from None

    def _write_down(self, call: Call, leaving: Leaving) -> None:
        """Enter in the egress log what is about to leave.

        Raises:
            NoAnswer: The entry could not be written, so nothing leaves.
        """
        try:
            self._egress_log.append(leaving)
        except ForebayError as error:
            log.error(  # noqa: TRY400 - nothing is wrong with the code
                "the egress log cannot be written, so the call is not made: %s", error,
                extra=event(Event.EGRESS_UNWRITTEN, job=leaving.job, model=leaving.model),
            )  # fmt: skip
            self._release(call)
            raise NoAnswer(error, Reason.EGRESS_UNWRITTEN, waits=True) from None

    def _failed(
        self, call: Call, error: ForebayError, rules: Policy, rest_s: float, tenant: str
    ) -> NoAnswer:
        """Book what the failed call cost, as far as it is known; return the `NoAnswer` to raise."""
        if rest_s:
            self._slots.shut_if_all_rest(rules, error.code, tenant)
        if isinstance(error, OutcomeUnknown):
            return NoAnswer(error, Reason.CALL_OPEN)
        if isinstance(error, BilledFailure):
            cost = cost_of(call, error.usage, error.tier, stand_in=error.stand_in)
            self.book(call, cost)
            self._recovered(call)
            return NoAnswer(error, Reason.BEDROCK_FAILED, another=True, estimated=cost.estimated)
        if billed(error) == "no":
            self._release(call)
        if scope := fault_of(error, call.model):
            self._spillway.fail(scope, error.code, str(error), rules.all_models())
            # If it is the account's, only a model that another service serves is still open.
            return NoAnswer(error, Reason.SPILLWAY_SHUT, another=True, waits=True)
        if not isinstance(error, PassingError):
            return NoAnswer(error, Reason.BEDROCK_FAILED, another=True)
        error.retry_after = error.retry_after or rest_s or None
        return NoAnswer(error, Reason.SPILLWAY_SHUT, another=True)

    def _recovered(self, call: Call) -> None:
        if call.probe:
            self._spillway.recover(call.model, elsewhere=call.terms.endpoint is not None)
