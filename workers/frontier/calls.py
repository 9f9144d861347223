"""One call to a frontier model and its money: reserved before the call, booked after it."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from forebay.routing.base import NANO
from forebay.routing.books.egress_entry import Leaving
from forebay.routing.books.egress_log import EgressLog
from forebay.routing.errors import (
    BadAnswer,
    BudgetExceeded,
    EgressDenied,
    ForebayError,
    Misconfigured,
    NoModel,
    NoPrice,
    PassingError,
    Throttled,
    Unavailable,
)
from forebay.routing.jobs import Answer, Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import MAX_NUSD, BookBounds, Budget
from forebay.routing.limits.prices import Prices, Tier, Usage
from forebay.routing.limits.spillway import ACCOUNT, PROBE_EVERY_S, Spillway
from forebay.routing.logs import Event, event
from forebay.routing.policy.egress import egress
from forebay.routing.policy.lane import NO_MODEL
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.routing.store.backoff import patiently
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.call import Call, Cost, SubBudget
from forebay.workers.frontier.no_answer import NoAnswer
from forebay.workers.frontier.provider import (
    BilledFailure,
    OutcomeUnknown,
    Provider,
    Reply,
    billed,
    fault_of,
)
from forebay.workers.frontier.traced_call import traced

MAX_RESERVING_S = 30.0  # if reserving took longer, the reservation's term may run out in the call
MAX_BOOKING_S = 60.0  # how long booking a cost waits for Redis

log = logging.getLogger(__name__)


class Calls:
    """Makes paid calls through a provider. Safe to share between threads.

    1. `plan` makes the prompt and computes the most that the call can cost.
    2. `make` reserves that money, writes down what leaves, and calls, once.
    3. `book` settles the reservation at what the call did cost.
    """

    def __init__(
        self, ledger: Ledger, provider: Provider, prices: Callable[[], Prices], secret: bytes
    ) -> None:
        """Call through `provider`; `prices` returns the price list that is in force."""
        settings = ledger.settings
        self._provider = provider
        self._prices = prices
        self._secret = secret
        self._budget = Budget(ledger.redis, BookBounds(settings.books_days, settings.books_calls))
        self._egress_log = EgressLog(ledger.redis, settings.egress_entries)
        self._spillway = Spillway(ledger.redis)

    def plan(
        self,
        job: Job,
        model: str,
        rules: Policy,
        prompt_for: Callable[[str], Prompt],
        *,
        spent_nusd: int = 0,
    ) -> Call:
        """Plan a call; `prompt_for` makes its prompt from the call's id.

        `spent_nusd` is what earlier calls for the job cost.

        Raises:
            NoAnswer: The spillway is shut, the model has no price, or the call might cost more
                than the job allows.
        """
        call_id, base, prices = secrets.token_hex(16), rules.base_model(model), self._prices()
        try:
            prompt = prompt_for(call_id)
            tokens_in, tokens_out = self._provider.bounds(prompt, base)
            worst_nusd = prices.worst_case(base, tokens_in, tokens_out)
        except NoPrice as error:
            raise NoAnswer(error, Reason.NO_PRICE, detail=model, another=True) from None
        except ForebayError as error:
            raise NoAnswer(error, Reason.BEDROCK_FAILED, another=True) from None
        allowed_nusd = MAX_NUSD if job.max_cost_usd is None else job.max_cost_usd * NANO
        if spent_nusd + worst_nusd > allowed_nusd:
            too_dear = BudgetExceeded("a call might cost more than this", field="max_cost_usd")
            raise NoAnswer(too_dear, Reason.JOB_COST_CAP, another=True)
        return Call(
            call_id, prompt, model, base, worst_nusd, prices, tokens_in,
            probe=self._admitted(model), repair=spent_nusd > 0,
        )  # fmt: skip

    def _admitted(self, model: str) -> bool:
        """Return whether the call of this model probes a fault.

        Raises:
            NoAnswer: The spillway is shut for this model.
        """
        admission = self._spillway.admit(model)
        fault = admission.fault
        if not admission.wait_s:
            return fault is not None
        why = fault.reason if fault else "the spillway is shut"
        shut = Unavailable(why, retry_after=admission.wait_s)
        another = fault is not None and fault.scope != ACCOUNT
        raise NoAnswer(shut, Reason.SPILLWAY_SHUT, another=another)

    def make(
        self, call: Call, claim: Claim, job: Job, rules: Policy, sub_budget: SubBudget
    ) -> Reply:
        """Reserve the money, write down what leaves, and call, once.

        The reply is billed: `book` it, whatever it says.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: There is no reply. Its cost is booked already, as far as it is known.
        """
        began = time.monotonic()
        self._reserve(call, claim, job, rules, sub_budget)
        self._write_down(
            call.leaving(claim, job, rules, self._provider.region, sub_budget, self._secret)
        )
        if time.monotonic() - began > MAX_RESERVING_S:  # this process was stopped meanwhile
            self._budget.release(call.id)
            raise NoAnswer(Unavailable("too late to call"), Reason.SPILLWAY_SHUT)
        try:
            reply = traced(self._provider, call.prompt, call.model, call.id, call.base)
        except ForebayError as error:
            raise self._failed(call, error, rules) from None
        self._recovered(call)
        return reply

    def cost(self, call: Call, reply: Reply) -> Cost:
        """Return what a reply costs: its worst case if its usage cannot be priced exactly."""
        return self._cost(call, reply.usage, reply.tier, stand_in=reply.stand_in)

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

    def _reserve(
        self, call: Call, claim: Claim, job: Job, rules: Policy, sub_budget: SubBudget
    ) -> None:
        try:
            self._budget.reserve(
                call.id,
                job.id,
                job.tenant,
                call.worst_nusd,
                limits_at=lambda at_s: call.limits(rules, job.tenant, sub_budget, at_s),
                term_s=self._provider.term_s,
                purpose=sub_budget.purpose,
                token=claim.token,
                terms=call.terms(self._provider.region, sub_budget),
            )
        except BudgetExceeded as error:
            raise NoAnswer(error, Reason.BUDGET_SPENT, another=True) from None
        except Throttled as error:  # another call of this job may still run, or has just ended
            raise NoAnswer(error, Reason.CALL_OPEN) from None

    def _write_down(self, leaving: Leaving) -> None:
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
            with suppress(Unavailable):  # what cannot be released stays reserved for its term
                self._budget.release(leaving.call)
            raise NoAnswer(error, Reason.EGRESS_UNWRITTEN, waits=True) from None

    def _cost(self, call: Call, usage: Usage | None, tier: Tier | None, *, stand_in: bool) -> Cost:
        """Return the cost by the prices that were in force when the call was planned."""
        if usage is not None and tier is not None:
            try:
                nusd = call.prices.cost(call.base, usage, tier=tier)
            except Misconfigured:
                nusd = MAX_NUSD + 1
            if nusd <= MAX_NUSD:
                return Cost(nusd, usage=usage, tier=tier, stand_in=stand_in)
        log.error(
            "the usage of call %s of %s cannot be priced; its worst case of $%.6f is booked",
            call.id, call.model, call.worst_nusd / NANO,
            extra=event(Event.BEDROCK_UNPRICED, model=call.model),
        )  # fmt: skip
        return Cost(call.worst_nusd, estimated=True, usage=usage, tier=tier, stand_in=stand_in)

    def _failed(self, call: Call, error: ForebayError, rules: Policy) -> NoAnswer:
        """Book what the failed call cost, as far as it is known; return the `NoAnswer` to raise."""
        if isinstance(error, OutcomeUnknown):
            return NoAnswer(error, Reason.CALL_OPEN)
        if isinstance(error, BilledFailure):
            cost = self._cost(call, error.usage, error.tier, stand_in=error.stand_in)
            self.book(call, cost)
            self._recovered(call)
            return NoAnswer(error, Reason.BEDROCK_FAILED, another=True, estimated=cost.estimated)
        if billed(error) == "no":
            self._budget.release(call.id)
        if scope := fault_of(error, call.model):
            return self._shut(scope, error, rules)
        passes = isinstance(error, PassingError)
        reason = Reason.SPILLWAY_SHUT if passes else Reason.BEDROCK_FAILED
        return NoAnswer(error, reason, another=True, shuts=passes)

    def _shut(self, scope: str, error: ForebayError, rules: Policy) -> NoAnswer:
        """Shut the spillway for the scope of a fault that is no job's own.

        If it is the last model of the policy that was open, the whole spillway is shut for a while.
        """
        self._spillway.fail(scope, error.code, str(error))
        faulty = {fault.scope for fault in self._spillway.faults()}
        if scope != ACCOUNT and faulty >= rules.all_models():
            self._spillway.shut(error.code, PROBE_EVERY_S)
        another = scope != ACCOUNT
        return NoAnswer(error, Reason.SPILLWAY_SHUT, another=another, waits=True)

    def _recovered(self, call: Call) -> None:
        if call.probe:
            self._spillway.recover(call.model)


def allowed(claim: Claim, job: Job, rules: Policy) -> tuple[str, ...]:
    """Return the models that may see this job's content, in order of preference.

    Egress is decided anew, from the policy, the job and the record.

    Raises:
        NoAnswer: The content may not leave, or the policy allows no model.
    """
    if "deny" in {egress(job, rules), claim.record.egress}:
        denied = EgressDenied("the content of this job may not leave", field="egress")
        raise NoAnswer(denied, Reason.EGRESS_DENIED)
    models = rules.models(job.tenant)
    if not models:
        raise NoAnswer(NoModel(NO_MODEL, field="lane"), Reason.NO_MODEL_ALLOWED)
    return models


def paid(claim: Claim) -> Answer | None:
    """Return the answer that an earlier worker paid for, but could not settle the job with.

    Raises:
        NoAnswer: An earlier worker paid and got no usable answer. Nobody pays a second time.
    """
    draft = claim.drafted()
    if draft is not None and draft.lane == "bedrock":
        return draft
    if claim.record.cost_nusd:
        wasted = BadAnswer("a call was paid for and gave no usable answer")
        raise NoAnswer(wasted, Reason.BEDROCK_FAILED)
    return None
