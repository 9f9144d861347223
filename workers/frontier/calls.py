"""One call to a frontier model and its money: reserved before the call, booked after it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from forebay.routing.backoff import patiently
from forebay.routing.base import NANO
from forebay.routing.errors import (
    BadAnswer,
    BudgetExceeded,
    EgressDenied,
    ForebayError,
    PassingError,
    Throttled,
    Unavailable,
)
from forebay.routing.jobs import Answer, Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices
from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.egress import egress
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.provider import (
    BilledFailure,
    OutcomeUnknown,
    Provider,
    Reply,
    billed,
)

MAX_RESERVING_S = 30.0  # if reserving took longer, the reservation's term may run out in the call
MAX_BOOKING_S = 60.0  # how long booking a cost waits for Redis


@dataclass(frozen=True, slots=True)
class SubBudget:
    """A budget that pays for a call, in addition to the tenant's and the fleet's.

    `Budget.reserve` says how the three are counted.
    """

    purpose: str = ""
    budget_nusd: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A planned call: its prompt, its model, and the most it can cost."""

    id: str
    prompt: Prompt
    model: str
    worst_nusd: int


class NoAnswer(Exception):  # a signal, caught by the lane
    """Why there is no answer from the frontier; `another` model might give one."""

    def __init__(self, error: ForebayError, reason: Reason, *, another: bool = False) -> None:
        super().__init__(error.code)
        self.error = error
        self.reason = reason
        self.another = another


class Calls:
    """Makes paid calls through a provider. Safe to share between threads.

    1. `plan` makes the prompt and computes the most that the call can cost.
    2. `make` reserves that money and calls, once.
    3. `book` settles the reservation at what the call did cost.
    """

    def __init__(self, ledger: Ledger, provider: Provider, prices: Prices) -> None:
        self._provider = provider
        self._prices = prices
        self._budget = Budget(ledger.redis)
        self._spillway = Spillway(ledger.redis)

    def plan(
        self, job: Job, model: str, prompt_for: Callable[[str], Prompt], *, spent_nusd: int = 0
    ) -> Call:
        """Plan a call; `prompt_for` makes its prompt from the call's id.

        `spent_nusd` is what earlier calls for the job cost.

        Raises:
            NoAnswer: The spillway is shut, the model has no price, or the call might cost more
                than the job allows.
        """
        if shut_s := self._spillway.shut_for_s():
            shut = Unavailable("the spillway is shut", retry_after=shut_s)
            raise NoAnswer(shut, Reason.SPILLWAY_SHUT)
        call_id = secrets.token_hex(16)
        try:
            prompt = prompt_for(call_id)
            tokens_in, tokens_out = self._provider.bounds(prompt, model)
            worst_nusd = self._prices.worst_case(model, tokens_in, tokens_out)
        except ForebayError as error:
            raise NoAnswer(error, Reason.BEDROCK_FAILED, another=True) from None
        if job.max_cost_usd is not None and spent_nusd + worst_nusd > job.max_cost_usd * NANO:
            too_dear = BudgetExceeded("a call might cost more than this", field="max_cost_usd")
            raise NoAnswer(too_dear, Reason.JOB_COST_CAP, another=True)
        return Call(call_id, prompt, model, worst_nusd)

    def make(
        self, call: Call, claim: Claim, job: Job, rules: Policy, sub_budget: SubBudget
    ) -> Reply:
        """Reserve the money and call, once. The reply is billed: `book` it, whatever it says.

        Raises:
            Lost: The job no longer belongs to this claim.
            NoAnswer: There is no reply. Its cost is booked already, as far as it is known.
        """
        began = time.monotonic()
        self._reserve(call, claim, job, rules, sub_budget)
        if time.monotonic() - began > MAX_RESERVING_S:  # this process was stopped meanwhile
            self._budget.release(call.id)
            raise NoAnswer(Unavailable("too late to call"), Reason.SPILLWAY_SHUT)
        try:
            return self._provider.call(call.prompt, call.model, call_id=call.id)
        except ForebayError as error:
            raise self._failed(call, error) from None

    def cost(self, call: Call, reply: Reply) -> int:
        """Return what a reply costs, in billionths of a dollar."""
        return self._prices.cost(call.model, reply.usage, tier=reply.tier)

    def book(self, call: Call, cost_nusd: int, draft: bytes = b"") -> None:
        """Settle a call at its cost, waiting up to `MAX_BOOKING_S` for Redis.

        Until then the call's worst case stays reserved.

        Args:
            call: the call that was made.
            cost_nusd: its cost in billionths of a dollar.
            draft: the sealed answer, kept so that the next worker need not pay for it again.

        Raises:
            Unavailable: Redis did not come back in time.
        """
        settle = partial(self._budget.settle, call.id, cost_nusd, draft=draft)
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
                tenant_budget_nusd=rules.tenant(job.tenant).daily_budget_nusd,
                fleet_budget_nusd=rules.fleet.daily_budget_nusd,
                term_s=self._provider.term_s,
                purpose=sub_budget.purpose,
                purpose_budget_nusd=sub_budget.budget_nusd,
                token=claim.token,
            )
        except BudgetExceeded as error:
            raise NoAnswer(error, Reason.BUDGET_SPENT, another=True) from None
        except Throttled as error:  # another call of this job may still run, or has just ended
            raise NoAnswer(error, Reason.CALL_OPEN) from None

    def _failed(self, call: Call, error: ForebayError) -> NoAnswer:
        """Book what the failed call cost, as far as it is known; return the `NoAnswer` to raise."""
        if isinstance(error, OutcomeUnknown):
            return NoAnswer(error, Reason.CALL_OPEN)
        if isinstance(error, BilledFailure):
            self.book(call, self._prices.cost(call.model, error.usage))
        elif billed(error) == "no":
            self._budget.release(call.id)
        passes = isinstance(error, PassingError)
        reason = Reason.SPILLWAY_SHUT if passes else Reason.BEDROCK_FAILED
        return NoAnswer(error, reason, another=True)


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
        no_model = EgressDenied("the policy allows no model on Bedrock", field="lane")
        raise NoAnswer(no_model, Reason.NO_MODEL_ALLOWED)
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
