"""One call to a frontier model and its money: reserved before the call, booked after it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from forebay.routing.books.egress_entry import Leaving
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.errors import ForebayError, PassingError, Unavailable
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import BookBounds
from forebay.routing.limits.prices import Prices
from forebay.routing.limits.spillway import Spillway
from forebay.routing.logs import Event, event
from forebay.routing.reasons import Reason
from forebay.workers.engines.engine import Prompt, TakeText
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.call import Call, Role
from forebay.workers.frontier.calling.cost import Cost, cost_of
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.calling.payments import Payments
from forebay.workers.frontier.calling.planner import Bound, Planner
from forebay.workers.frontier.calling.providers import Providers
from forebay.workers.frontier.calling.slots import Slots
from forebay.workers.frontier.calling.token_counts import TokenCounts
from forebay.workers.frontier.provider import (
    BilledFailure,
    OutcomeUnknown,
    Provider,
    Reply,
    billed,
    fault_of,
)

MAX_RESERVING_S = 30.0  # if reserving took longer, the reservation's term may run out in the call

log = logging.getLogger(__name__)


class Calls:
    """Makes paid calls through a provider. Safe to share between threads.

    1. `plan` makes the prompt and computes the most that the call can cost (`Planner`).
    2. `make` takes a slot of the model, reserves that money, writes down what leaves, and calls,
       once.
    3. `book` settles the reservation at what the call did cost, or `pass_on` does so and reserves
       for the job's next call (`Payments`).
    """

    def __init__(
        self, ledger: Ledger, provider: Provider, prices: Callable[[], Prices], secret: bytes
    ) -> None:
        """Call through `provider`; `prices` returns the price list that is in force."""
        settings = ledger.settings
        self._providers = Providers(provider)
        self._secret = secret
        bounds = BookBounds(settings.books_days, settings.books_calls)
        self._payments = Payments(ledger.redis, bounds, self._providers)
        self.book, self.pass_on = self._payments.book, self._payments.pass_on
        self._egress_log = EgressLog(ledger.redis, settings.egress_entries)
        self._spillway = Spillway(ledger.redis)
        self._slots = Slots(ledger.redis, self._spillway)
        counts = TokenCounts(self._providers, self._egress_log, secret)
        self._planner = Planner(self._providers, prices, self._spillway, counts)
        self.plan, self.bound = self._planner.plan, self._planner.bound

    def ask(
        self,
        assignment: Assignment,
        model: str,
        prompt_for: Callable[[str], Prompt],
        *,
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
        plan = partial(self.plan, assignment, model, prompt_for, role=role, spent_nusd=spent_nusd)
        call = plan()
        try:
            return call, self.make(call, assignment, on_text)
        except NoAnswer as refusal:
            if not self._may_fit(call, assignment, refusal):
                raise
            counted = plan(counted=True)
            if counted.worst_nusd >= call.worst_nusd:
                raise
        return counted, self.make(counted, assignment, on_text)

    def _may_fit(self, call: Call, assignment: Assignment, refusal: NoAnswer) -> bool:
        """Return whether the tokens of a call that a budget refused may keep to the budgets."""
        rules = assignment.policy.tenant(assignment.job.tenant)
        counts = rules.count_tokens == "if_needed"
        if not counts or refusal.reason is not Reason.BUDGET_SPENT:
            return False
        left = self._payments.left(call, assignment)
        bound = Bound(call.terms, call.prices, call.tokens_in, call.tokens_out, call.worst_nusd)
        return left is None or bound.may_fit(left)

    def make(self, call: Call, assignment: Assignment, on_text: TakeText | None = None) -> Reply:
        """Take a slot, reserve the money, write down what leaves, and call, once.

        The reply is billed: `book` it, whatever it says. `on_text` gets its text as it comes.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: There is no reply. Its cost is booked already, as far as it is known.
        """
        try:
            slot = self._slots.take(call, assignment)
        except NoAnswer:
            self._payments.release(call)  # what an earlier call of the job passed on
            raise
        try:
            self._prepare(call, assignment)
            ending = self._call(call, on_text)
        except BaseException:  # no call was made, or this thread is being ended
            self._slots.give(slot)
            raise
        rest_s = self._slots.give(slot, ending)
        if not isinstance(ending, Reply):
            raise self._failed(call, ending, assignment, rest_s)
        self._recovered(call)
        return ending

    def _prepare(self, call: Call, assignment: Assignment) -> None:
        """Reserve the money and write down what leaves.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: The call must not be made.
        """
        began = time.monotonic()
        try:
            self._payments.reserve(call, assignment)
        except Unavailable:  # it may have taken effect
            self._payments.release(call)
            raise
        region = self._providers.of(call.terms).region
        self._write_down(call, call.leaving(assignment, region, self._secret))
        if time.monotonic() - began > MAX_RESERVING_S:  # this process was stopped meanwhile
            self._payments.release(call)
            raise NoAnswer(Unavailable("too late to call"), Reason.SPILLWAY_SHUT)

    def _call(self, call: Call, on_text: TakeText | None) -> Reply | ForebayError:
        try:
            return self._providers.call(call, on_text)
        except ForebayError as error:
            return error

    def cost(self, call: Call, reply: Reply) -> Cost:
        """Return what a reply costs: its worst case if its usage cannot be priced exactly."""
        return cost_of(call, reply.usage, reply.tier, stand_in=reply.stand_in)

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
            self._payments.release(call)
            raise NoAnswer(error, Reason.EGRESS_UNWRITTEN, waits=True) from None

    def _failed(
        self, call: Call, error: ForebayError, assignment: Assignment, rest_s: float
    ) -> NoAnswer:
        """Book what the failed call cost, as far as it is known; return the `NoAnswer` to raise."""
        policy = assignment.policy
        if rest_s:
            self._slots.shut_if_all_rest(policy, error.code, assignment.job.tenant)
        if isinstance(error, OutcomeUnknown):
            return NoAnswer(error, Reason.CALL_OPEN)
        if isinstance(error, BilledFailure):
            cost = cost_of(call, error.usage, error.tier, stand_in=error.stand_in)
            self.book(call, cost)
            self._recovered(call)
            return NoAnswer(
                error, Reason.BEDROCK_FAILED, another=True,
                estimated=cost.estimated, spent_nusd=cost.nusd,
            )  # fmt: skip
        if billed(error) == "no":
            self._payments.release(call)
        if scope := fault_of(error, call.model):
            self._spillway.fail(scope, error.code, str(error), policy.all_models())
            # If it is the account's, only a model that another service serves is still open.
            return NoAnswer(error, Reason.SPILLWAY_SHUT, another=True, waits=True)
        if not isinstance(error, PassingError):
            return NoAnswer(error, Reason.BEDROCK_FAILED, another=True)
        error.retry_after = error.retry_after or rest_s or None
        return NoAnswer(error, Reason.SPILLWAY_SHUT, another=True)

    def _recovered(self, call: Call) -> None:
        if call.probe:
            self._spillway.recover(call.model, elsewhere=call.terms.endpoint is not None)
