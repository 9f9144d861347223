"""The bedrock lane: `celery -A workers.bedrock worker`. Threads that wait for calls to Bedrock.

The only worker that sends content out of the building. It checks egress itself, from the record and
from the job, sets money aside before each call, and books what the call cost after it, whatever has
become of the job meanwhile.
"""

from __future__ import annotations

import random
import secrets
import time
from dataclasses import dataclass

from routing import policy
from routing.cache import Cache, secret
from routing.errors import (
    BadAnswer,
    BudgetExceeded,
    EgressDenied,
    ForebayError,
    PassingError,
    Throttled,
)
from routing.jobs import NANO, Answer, Content, Job
from routing.lanes import BEDROCK
from routing.ledger import Claim, Ledger
from routing.policy import Policy, PolicyFile
from routing.prices import Prices
from routing.reasons import Reason
from routing.spend import Spend
from routing.spillway import Spillway
from workers import answers, prompts, verify
from workers.actor import Actor, settings_of
from workers.engines.converse import Converse, OutcomeUnknown, Reply, Wasted, billed, bounds
from workers.engines.engine import Prompt
from workers.execute import Again, Answered, Failed, Outcome, Routed, backoff
from workers.leases import Leases
from workers.settings import BedrockSettings
from workers.verify import INDISPENSABLE

PROMPT_S = 30.0  # a call that is not made so soon after its reservation is not made at all
SHUT_S = 5.0  # how long one failed call keeps the spillway shut for new jobs


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is to be made: what is asked of which model, and at most for how much."""

    id: str
    prompt: Prompt
    model: str
    worst_nusd: int


class Bedrock:
    """Works jobs by calls to Bedrock: check egress, recall, reserve, call, book, check."""

    def __init__(self, ledger: Ledger, settings: BedrockSettings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._converse = Converse(settings)
        self._prices = Prices.load(settings.prices_file)
        self._spend = Spend(ledger.redis)
        self._spillway = Spillway(ledger.redis)
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._leases = Leases(ledger)
        kept_s = ledger.settings.cache_s
        self._cache = Cache(
            ledger.redis, secret(ledger.redis, ledger.settings), kept_s, ledger.seal
        )

    def work(self, claim: Claim, /) -> Outcome:
        """Answer one job, or say what becomes of it without a call."""
        job, rules = claim.job(), self._policy.current()
        if "deny" in {policy.egress(job, rules), claim.record.egress}:
            error = EgressDenied("the content of this job may not leave", field="egress")
            return self._without(claim, job, rules, error, Reason.EGRESS_DENIED)
        models = rules.models(job.tenant)
        if not models:
            none = EgressDenied("the policy allows no model on Bedrock", field="lane")
            return self._without(claim, job, rules, none, Reason.NO_MODEL_ALLOWED)
        found = self._cache.get(job, "allow", models[0], None)
        if found is not None:
            return Answered(found)
        with self._leases.holding(claim, lambda: None):  # a call that was made is paid for anyway
            return self._ask(claim, job, rules, self._plan(job, models[0]))

    def close(self) -> None:
        """Nothing is held."""

    def _plan(self, job: Job, model: str) -> Call:
        call_id = secrets.token_hex(16)
        prompt = prompts.frontier(job, prompt_id=call_id)
        tokens_in, tokens_out = bounds(prompt, model)
        worst = self._prices.worst_case(model, tokens_in, tokens_out)
        return Call(call_id, prompt, model, worst)

    def _ask(self, claim: Claim, job: Job, rules: Policy, call: Call) -> Outcome:
        if job.max_cost_usd is not None and call.worst_nusd > job.max_cost_usd * NANO:
            cap = BudgetExceeded("a call might cost more than this", field="max_cost_usd")
            return self._without(claim, job, rules, cap, Reason.JOB_COST_CAP)
        began = time.monotonic()
        try:
            self._reserve(job, rules, call)
        except BudgetExceeded as error:
            return self._without(claim, job, rules, error, Reason.BUDGET_SPENT)
        except Throttled as error:  # an earlier call may still be running
            return Again(error.code, delay_s=error.retry_after or 1.0, counted=False)
        if time.monotonic() - began > PROMPT_S:  # we were stopped; the term may be over meanwhile
            self._spend.release(call.id)
            return Again("unavailable", counted=False)
        try:
            reply = self._converse.call(call.prompt, call.model, call_id=call.id)
        except ForebayError as error:
            return self._failed(claim, job, rules, call, error)
        cost = self._prices.cost(call.model, reply.usage, tier=reply.tier)
        self._spend.settle(call.id, cost)
        self._spillway.open()
        return self._read(claim, job, rules, reply, cost)

    def _reserve(self, job: Job, rules: Policy, call: Call) -> None:
        self._spend.reserve(
            call.id,
            job.id,
            job.tenant,
            call.worst_nusd,
            tenant_budget_nusd=rules.tenant(job.tenant).daily_budget_nusd,
            fleet_budget_nusd=rules.fleet.daily_budget_nusd,
            term_s=self._settings.bedrock_term_s,
        )

    def _failed(
        self, claim: Claim, job: Job, rules: Policy, call: Call, error: ForebayError
    ) -> Outcome:
        """Book what the failed call cost, as far as that is known, and go on without it."""
        if billed(error) == "no":
            self._spend.release(call.id)
        elif isinstance(error, Wasted):
            self._spend.settle(call.id, self._prices.cost(call.model, error.usage))
        if isinstance(error, OutcomeUnknown):
            return Again(error.code, delay_s=backoff(claim))
        if not isinstance(error, PassingError):
            return self._without(claim, job, rules, error, Reason.BEDROCK_FAILED)
        self._spillway.shut(error.code, error.retry_after or SHUT_S)
        if rules.tenant(job.tenant).when_shut == "degrade":
            return self._without(claim, job, rules, error, Reason.SPILLWAY_SHUT)
        wait = error.retry_after or random.uniform(0.5, 1.0) * SHUT_S
        return Again(error.code, delay_s=wait, counted=False)

    def _read(self, claim: Claim, job: Job, rules: Policy, reply: Reply, cost_nusd: int) -> Outcome:
        try:
            content = answers.read(job, reply.text, finish=reply.finish)
        except BadAnswer as error:
            return self._without(claim, job, rules, error, Reason.BEDROCK_FAILED)
        answer = _answer(claim, content, reply, cost_nusd, job)
        faults = {check.name for check in answer.checks if not check.passed}
        if faults & INDISPENSABLE:
            bad = BadAnswer("the frontier model's answer does not pass its checks")
            return self._without(claim, job, rules, bad, Reason.BEDROCK_FAILED)
        self._cache.put(job, "allow", answer)
        return Answered(answer)

    def _without(
        self, claim: Claim, job: Job, rules: Policy, error: ForebayError, reason: Reason
    ) -> Outcome:
        """No answer from Bedrock: the local one as degraded, or one to be made, or a failure."""
        draft = claim.drafted()
        reasons = (*claim.record.reasons, reason.value)
        if draft is not None:
            return Answered(draft.model_copy(update={"reasons": reasons, "degraded": True}))
        if job.lane == "bedrock" or claim.record.verdict is None or "no_answer" in reasons:
            return Failed(error, (reason.value,))
        queue = rules.tenant(job.tenant).queue(job)
        return Routed(queue, claim.record.egress, ",".join(reasons), claim.record.verdict)


def _answer(claim: Claim, content: Content, reply: Reply, cost_nusd: int, job: Job) -> Answer:
    record = claim.record
    checks = verify.check(job, content, finish=reply.finish)
    faults = tuple(f"{Reason.CHECK_FAILED}:{one.name}" for one in checks if not one.passed)
    return Answer(
        id=claim.id,
        kind=record.kind,
        egress=record.egress,
        status="done",
        lane="bedrock",
        reasons=(*record.reasons, *faults),
        degraded=bool(faults),
        stand_in=reply.stand_in,
        model=reply.model,
        tokens_in=reply.usage.prompt,
        tokens_out=reply.usage.output,
        cost_nusd=cost_nusd,
        verdict=record.verdict,
        checks=checks,
        attempts=record.attempts,
        content=content,
    )


def _start(ledger: Ledger) -> Bedrock:
    return Bedrock(ledger, _settings)


_settings = settings_of(BedrockSettings)
app = Actor([BEDROCK], _start, pool="threads", concurrency=_settings.bedrock_concurrency).app
