"""One call to Bedrock and its money: set aside before it, booked after it, whatever comes of it."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

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
from forebay.workers.frontier.converse import (
    Converse,
    OutcomeUnknown,
    Reply,
    Wasted,
    billed,
    bounds,
)
from forebay.workers.frontier.settings import BedrockSettings

PROMPT_S = 30.0  # a call that is not made so soon after its reservation is not made at all
BOOK_S = 60.0  # how long booking a cost waits for Redis


@dataclass(frozen=True, slots=True)
class SubBudget:
    """A budget that a call is paid from, besides the tenant's and the fleet's (`Budget.reserve`)."""

    purpose: str = ""
    budget_nusd: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is to be made: what is asked of which model, and at most for how much."""

    id: str
    prompt: Prompt
    model: str
    worst_nusd: int


class NoAnswer(Exception):  # a signal: this model gives none
    """Why there is no answer from Bedrock; `another` model might give one."""

    def __init__(self, error: ForebayError, reason: Reason, *, another: bool = False) -> None:
        super().__init__(error.code)
        self.error = error
        self.reason = reason
        self.another = another


class Calls:
    """Makes calls: `plan`, `make`, and `book` what was made. Safe to share between threads."""

    def __init__(self, ledger: Ledger, settings: BedrockSettings) -> None:
        self._settings = settings
        self._converse = Converse(settings)
        self._prices = Prices.load(settings.prices_file)
        self._spend = Budget(ledger.redis)
        self._spillway = Spillway(ledger.redis)

    def plan(self, job: Job, model: str, prompt: Callable[[str], Prompt]) -> Call:
        """The call that asks this; `prompt` makes it of the call's id.

        Raises:
            NoAnswer: The spillway is shut, the model has no price, or it might cost too much.
        """
        if shut_s := self._spillway.shut_for_s():
            wait = Unavailable("the spillway is shut", retry_after=shut_s)
            raise NoAnswer(wait, Reason.SPILLWAY_SHUT)
        call_id = secrets.token_hex(16)
        try:
            asked = prompt(call_id)
            tokens_in, tokens_out = bounds(asked, model)
            worst = self._prices.worst_case(model, tokens_in, tokens_out)
        except ForebayError as error:
            raise NoAnswer(error, Reason.BEDROCK_FAILED, another=True) from None
        if job.max_cost_usd is not None and worst > job.max_cost_usd * NANO:
            cap = BudgetExceeded("a call might cost more than this", field="max_cost_usd")
            raise NoAnswer(cap, Reason.JOB_COST_CAP, another=True)
        return Call(call_id, asked, model, worst)

    def make(self, call: Call, claim: Claim, job: Job, rules: Policy, purse: SubBudget) -> Reply:
        """Set the money aside and call, once. A reply is billed: `book` it, whatever it says.

        Raises:
            Lost: The job is not this claim's any more.
            NoAnswer: There is no reply; what that cost is booked, as far as it is known.
        """
        began = time.monotonic()
        self._reserve(call, claim, job, rules, purse)
        if time.monotonic() - began > PROMPT_S:  # we were stopped; the term may be over meanwhile
            self._spend.release(call.id)
            raise NoAnswer(Unavailable("too late to call"), Reason.SPILLWAY_SHUT)
        try:
            return self._converse.call(call.prompt, call.model, call_id=call.id)
        except ForebayError as error:
            raise self._failed(call, error) from None

    def cost(self, call: Call, reply: Reply) -> int:
        """What a reply costs, in billionths of a dollar."""
        return self._prices.cost(call.model, reply.usage, tier=reply.tier)

    def book(self, call: Call, cost_nusd: int, draft: bytes = b"") -> None:
        """Book a cost; worth waiting for Redis: until it is known, the money is set aside twice."""
        end = time.monotonic() + BOOK_S
        while True:
            try:
                self._spend.settle(call.id, cost_nusd, draft=draft)
            except Unavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(random.uniform(0.5, 1.0))
            else:
                return

    def _reserve(self, call: Call, claim: Claim, job: Job, rules: Policy, purse: SubBudget) -> None:
        try:
            self._spend.reserve(
                call.id,
                job.id,
                job.tenant,
                call.worst_nusd,
                tenant_budget_nusd=rules.tenant(job.tenant).daily_budget_nusd,
                fleet_budget_nusd=rules.fleet.daily_budget_nusd,
                term_s=self._settings.bedrock_term_s,
                purpose=purse.purpose,
                purpose_budget_nusd=purse.budget_nusd,
                token=claim.token,
            )
        except BudgetExceeded as error:
            raise NoAnswer(error, Reason.BUDGET_SPENT, another=True) from None
        except Throttled as error:  # one may still run, or has just ended
            raise NoAnswer(error, Reason.CALL_OPEN) from None

    def _failed(self, call: Call, error: ForebayError) -> NoAnswer:
        """Book what the failed call cost, as far as that is known."""
        if isinstance(error, OutcomeUnknown):
            return NoAnswer(error, Reason.CALL_OPEN)
        if isinstance(error, Wasted):
            self.book(call, self._prices.cost(call.model, error.usage))
        elif billed(error) == "no":
            self._spend.release(call.id)
        passes = isinstance(error, PassingError)
        reason = Reason.SPILLWAY_SHUT if passes else Reason.BEDROCK_FAILED
        return NoAnswer(error, reason, another=True)


def allowed(claim: Claim, job: Job, rules: Policy) -> tuple[str, ...]:
    """The models that may see this content: asked of the policy, the job and the record anew."""
    if "deny" in {egress(job, rules), claim.record.egress}:
        error = EgressDenied("the content of this job may not leave", field="egress")
        raise NoAnswer(error, Reason.EGRESS_DENIED)
    models = rules.models(job.tenant)
    if not models:
        none = EgressDenied("the policy allows no model on Bedrock", field="lane")
        raise NoAnswer(none, Reason.NO_MODEL_ALLOWED)
    return models


def paid(claim: Claim) -> Answer | None:
    """The answer of a worker that paid for it and could not settle the job any more.

    Raises:
        NoAnswer: It paid, and what it got was no answer that will do. Nobody pays a second time.
    """
    draft = claim.drafted()
    if draft is not None and draft.lane == "bedrock":
        return draft
    if claim.record.cost_nusd:
        wasted = BadAnswer("a call was paid for and gave no answer that will do")
        raise NoAnswer(wasted, Reason.BEDROCK_FAILED)
    return None
