"""Plans calls: their prompt, how they are made, and the most that they can cost."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from forebay.routing.base import NANO
from forebay.routing.errors import BudgetExceeded, ForebayError, NoPrice, Unavailable
from forebay.routing.jobs import Job
from forebay.routing.limits.budget import MAX_NUSD
from forebay.routing.limits.prices import Prices, Tier
from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.call import Call, Role
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.calling.prefixes import Prefixes, may_pay
from forebay.workers.frontier.calling.providers import Providers
from forebay.workers.frontier.calling.token_counts import Question, TokenCounts
from forebay.workers.frontier.terms import Terms

#: Of text in few tokens. A prompt that would still be too dear is not counted.
MOST_BYTES_PER_TOKEN = 6

#: Names of the ids that go along with a call, for the provider's own log.
JOB_LABEL, TENANT_LABEL = "forebay-job", "forebay-tenant"


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a call can be billed for, by the price list in force, and its terms."""

    terms: Terms
    prices: Prices
    tokens_in: int
    tokens_out: int
    nusd: int

    def with_tokens_in(self, tokens_in: int) -> Bound:
        """Return the bound of a call whose prompt has fewer tokens."""
        terms = self.terms
        nusd = self.prices.worst_case(
            terms.base, tokens_in, self.tokens_out, tier=terms.tier, caches=terms.caches
        )
        return replace(self, tokens_in=tokens_in, nusd=nusd)

    def may_fit(self, left_nusd: int | None) -> bool:
        """Return whether this money is too little for the bound, but may do for the call."""
        if left_nusd is None or self.nusd <= left_nusd:
            return False
        return self.with_tokens_in(self.tokens_in // MOST_BYTES_PER_TOKEN).nusd <= left_nusd


class Planner:
    """Plans the calls of one worker. Safe to share between threads."""

    def __init__(
        self,
        providers: Providers,
        prices: Callable[[], Prices],
        spillway: Spillway,
        counts: TokenCounts,
    ) -> None:
        """Plan with the price list that `prices` returns."""
        self._counts = counts
        self._providers = providers
        self._prices = prices
        self._spillway = spillway
        self._prefixes = Prefixes()

    def plan(
        self,
        assignment: Assignment,
        model: str,
        prompt_for: Callable[[str], Prompt],
        *,
        role: Role = "answer",
        spent_nusd: int = 0,
        ahead_nusd: int = 0,
        counted: bool = False,
    ) -> Call:
        """Plan a call; `prompt_for` makes its prompt from the call's id.

        Args:
            assignment: the job, and the policy.
            model: the model to call.
            prompt_for: makes the prompt from the call's id.
            role: what the call is for.
            spent_nusd: what earlier calls for the job cost.
            ahead_nusd: what later calls for the job may cost.
            counted: have the tokens counted, whatever the policy says.

        Raises:
            NoAnswer: The spillway is shut, the model has no price, or the calls might cost more
                than the job allows.
        """
        job, policy = assignment.job, assignment.policy
        call_id = secrets.token_hex(16)
        try:
            prompt = prompt_for(call_id)
        except ForebayError as error:
            raise NoAnswer(error, Reason.BEDROCK_FAILED, another=True) from None
        caches = self._prefixes.pays(prompt, policy.base_model(model), self._prices())
        bound = self._bound(assignment, model, prompt, caches=caches)
        allowed_nusd = MAX_NUSD if job.max_cost_usd is None else int(job.max_cost_usd * NANO)
        left_nusd = allowed_nusd - spent_nusd - ahead_nusd
        counts = policy.tenant(job.tenant).count_tokens
        if counted or counts == "always" or (counts == "if_needed" and bound.may_fit(left_nusd)):
            bound = self._counted(bound, assignment, model, prompt)
        if bound.nusd > left_nusd:
            too_dear = BudgetExceeded("a call might cost more than this", field="max_cost_usd")
            raise NoAnswer(too_dear, Reason.JOB_COST_CAP, another=True)
        return Call(
            call_id, prompt, model, bound.nusd, bound.prices, bound.tokens_in, bound.tokens_out,
            bound.terms, probe=self._admitted(model, job, elsewhere=bool(bound.terms.endpoint)),
            role=role, ahead_nusd=ahead_nusd,
        )  # fmt: skip

    def bound(self, assignment: Assignment, model: str, prompt: Prompt, *, counted: bool) -> Bound:
        """Return the most that a call with this prompt can be billed for.

        The tokens are counted if `counted` says so, or the policy always wants it.

        Raises:
            NoAnswer: The model has no price, or its provider cannot be called.
        """
        job, policy = assignment.job, assignment.policy
        caches = may_pay(prompt, policy.base_model(model), self._prices())
        bound = self._bound(assignment, model, prompt, caches=caches)
        if counted or policy.tenant(job.tenant).count_tokens == "always":
            return self._counted(bound, assignment, model, prompt)
        return bound

    def _counted(self, bound: Bound, assignment: Assignment, model: str, prompt: Prompt) -> Bound:
        """Return the bound by the service's own count, if that is possible and lower."""
        asked = Question(assignment, model, prompt, bound.terms, bound.tokens_in)
        counted = self._counts.count(asked)
        return bound if counted is None else bound.with_tokens_in(min(counted, bound.tokens_in))

    def _bound(self, assignment: Assignment, model: str, prompt: Prompt, *, caches: bool) -> Bound:
        prices, base = self._prices(), assignment.policy.base_model(model)
        try:
            terms = _terms(assignment.job, base, assignment.policy, prices, caches=caches)
            tokens_in, tokens_out = self._providers.of(terms).bounds(prompt, terms.base, terms)
            return Bound(terms, prices, tokens_in, tokens_out, 0).with_tokens_in(tokens_in)
        except NoPrice as error:
            raise NoAnswer(error, Reason.NO_PRICE, detail=model, another=True) from None
        except ForebayError as error:
            raise NoAnswer(error, Reason.BEDROCK_FAILED, another=True) from None

    def _admitted(self, model: str, job: Job, *, elsewhere: bool) -> bool:
        """Return whether the call of this model probes a fault.

        Raises:
            NoAnswer: The spillway is shut for this model.
        """
        admission = self._spillway.admit(model, job.id, elsewhere=elsewhere)
        fault = admission.fault
        if not admission.wait_s:
            return fault is not None
        why = fault.reason if fault else "the spillway is shut"
        shut = Unavailable(why, retry_after=admission.wait_s)
        raise NoAnswer(shut, Reason.SPILLWAY_SHUT, another=True)


def _terms(job: Job, base: str, policy: Policy, prices: Prices, *, caches: bool) -> Terms:
    """Return how a call is made: what the policy wants, as far as the model offers it."""
    wanted = policy.tenant(job.tenant)
    tier: Tier = getattr(wanted.service_tier, job.priority)
    return Terms(
        base=base,
        can=prices.capabilities(base),
        tier=tier if prices.offers(base, tier) else "default",
        effort="" if wanted.effort == "default" else wanted.effort,
        caches=caches,
        endpoint=policy.endpoint(base),
        labels={JOB_LABEL: job.id, TENANT_LABEL: job.tenant},
    )
