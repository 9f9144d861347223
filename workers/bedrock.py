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
    Unavailable,
)
from routing.jobs import Answer, Content, Job, Verdict
from routing.lanes import BEDROCK
from routing.ledger import Claim, Ledger
from routing.policy import Policy, PolicyFile
from routing.prices import Prices
from routing.reasons import Reason
from routing.spend import Spend
from routing.spillway import Spillway
from routing.wire import NANO
from workers import answers, prompts, verify
from workers.actor import Actor, settings_of
from workers.engines.converse import Converse, OutcomeUnknown, Reply, Wasted, billed, bounds
from workers.engines.engine import Prompt
from workers.execute import Again, Answered, Failed, Outcome, Routed, recalled
from workers.leases import Leases
from workers.settings import BedrockSettings
from workers.verify import INDISPENSABLE

PROMPT_S = 30.0  # a call that is not made so soon after its reservation is not made at all
SHUT_S = 5.0  # how long a call that failed for all keeps the spillway shut
BOOK_S = 60.0  # how long booking a cost waits for Redis


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


class Bedrock:
    """Works jobs by calls to Bedrock: check egress, recall, reserve, call, book, check."""

    def __init__(self, ledger: Ledger, settings: BedrockSettings) -> None:
        kept_s = ledger.settings.cache_s
        key = secret(ledger.redis, ledger.settings)
        self._settings = settings
        self._converse = Converse(settings)
        self._prices = Prices.load(settings.prices_file)
        self._spend = Spend(ledger.redis)
        self._spillway = Spillway(ledger.redis)
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._leases = Leases(ledger)
        self._cache = Cache(ledger.redis, key, kept_s, ledger.seal)
        self._seal = ledger.seal

    def work(self, claim: Claim, /) -> Outcome:
        """Answer one job, or say what becomes of it without an answer from here."""
        job, rules = claim.job(), self._policy.current()
        try:
            models = _allowed(claim, job, rules)
            if paid := _paid(claim):
                return Answered(paid)
            with self._leases.holding(claim, lambda: None):  # a call that was made is paid anyway
                return self._try(claim, job, rules, models)
        except NoAnswer as why:
            return self._without(claim, job, rules, why)

    def close(self) -> None:
        """Nothing is held."""

    def _try(self, claim: Claim, job: Job, rules: Policy, models: tuple[str, ...]) -> Outcome:
        """Ask the preferred model, and the next one where that makes sense."""
        for model in models[:-1]:
            try:
                return self._ask(claim, job, rules, model)
            except NoAnswer as why:
                if not why.another:
                    raise
        return self._ask(claim, job, rules, models[-1])

    def _ask(self, claim: Claim, job: Job, rules: Policy, model: str) -> Outcome:
        found = self._cache.get(job, "allow", model, model)
        if found is not None:
            return recalled(claim, found)
        shut_s = self._spillway.shut_for_s()
        if shut_s:
            wait = Unavailable("the spillway is shut", retry_after=shut_s)
            raise NoAnswer(wait, Reason.SPILLWAY_SHUT)
        call = self._plan(job, model)
        began = time.monotonic()
        self._reserve(job, rules, call)
        if time.monotonic() - began > PROMPT_S:  # we were stopped; the term may be over meanwhile
            self._spend.release(call.id)
            raise NoAnswer(Unavailable("too late to call"), Reason.SPILLWAY_SHUT)
        try:
            reply = self._converse.call(call.prompt, call.model, call_id=call.id)
        except ForebayError as error:
            raise self._failed(call, error) from None
        return self._answered(claim, job, call, reply)

    def _plan(self, job: Job, model: str) -> Call:
        call_id = secrets.token_hex(16)
        try:
            prompt = prompts.frontier(job, prompt_id=call_id)
            tokens_in, tokens_out = bounds(prompt, model)
            worst = self._prices.worst_case(model, tokens_in, tokens_out)
        except ForebayError as error:
            raise NoAnswer(error, Reason.BEDROCK_FAILED, another=True) from None
        if job.max_cost_usd is not None and worst > job.max_cost_usd * NANO:
            cap = BudgetExceeded("a call might cost more than this", field="max_cost_usd")
            raise NoAnswer(cap, Reason.JOB_COST_CAP, another=True)
        return Call(call_id, prompt, model, worst)

    def _reserve(self, job: Job, rules: Policy, call: Call) -> None:
        try:
            self._spend.reserve(
                call.id,
                job.id,
                job.tenant,
                call.worst_nusd,
                tenant_budget_nusd=rules.tenant(job.tenant).daily_budget_nusd,
                fleet_budget_nusd=rules.fleet.daily_budget_nusd,
                term_s=self._settings.bedrock_term_s,
            )
        except BudgetExceeded as error:
            raise NoAnswer(error, Reason.BUDGET_SPENT, another=True) from None
        except Throttled as error:
            raise NoAnswer(error, Reason.CALL_OPEN) from None

    def _failed(self, call: Call, error: ForebayError) -> NoAnswer:
        """Book what the failed call cost, as far as that is known."""
        if isinstance(error, OutcomeUnknown):
            return NoAnswer(error, Reason.CALL_OPEN)
        if isinstance(error, Wasted):
            self._book(call, self._prices.cost(call.model, error.usage))
        elif billed(error) == "no":
            self._spend.release(call.id)
        passes = isinstance(error, PassingError)
        reason = Reason.SPILLWAY_SHUT if passes else Reason.BEDROCK_FAILED
        return NoAnswer(error, reason, another=True)

    def _answered(self, claim: Claim, job: Job, call: Call, reply: Reply) -> Outcome:
        """Book the call and keep its answer, in one step: no death leads to a second call."""
        cost, draft = self._prices.cost(call.model, reply.usage, tier=reply.tier), b""
        try:
            answer = _read(claim, job, reply, cost)
            draft = self._seal.close(answer.model_dump_json().encode())
        finally:
            self._book(call, cost, draft)
        return Answered(answer, lambda: self._cache.put(job, "allow", answer))

    def _book(self, call: Call, cost_nusd: int, draft: bytes = b"") -> None:
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

    def _without(self, claim: Claim, job: Job, rules: Policy, why: NoAnswer) -> Outcome:
        """No answer from here: wait, or the local one as degraded, or one to be made, or none."""
        error, passes = why.error, isinstance(why.error, PassingError)
        if why.reason is Reason.CALL_OPEN:
            counted = isinstance(error, OutcomeUnknown)
            return Again(error.code, delay_s=_wait_s(error), counted=counted)
        if passes and not self._spillway.shut_for_s():
            self._spillway.shut(error.code, _wait_s(error))
        if passes and rules.tenant(job.tenant).when_shut == "wait":
            return Again(error.code, delay_s=_wait_s(error), counted=False)
        reasons = (*claim.record.reasons, why.reason.value)
        if draft := claim.drafted():
            return Answered(draft.model_copy(update={"reasons": reasons, "degraded": True}))
        if _may_go_down(claim, job):
            queue = rules.tenant(job.tenant).queue(job)
            verdict = claim.record.verdict or Verdict(probability=0, version="none")
            return Routed(queue, claim.record.egress, ",".join(reasons), verdict)
        if passes:  # nothing else to give: wait all the same
            return Again(error.code, delay_s=_wait_s(error), counted=False)
        return Failed(error, (why.reason.value,))


def _allowed(claim: Claim, job: Job, rules: Policy) -> tuple[str, ...]:
    """The models that may see this content: asked of the policy, the job and the record anew."""
    if "deny" in {policy.egress(job, rules), claim.record.egress}:
        error = EgressDenied("the content of this job may not leave", field="egress")
        raise NoAnswer(error, Reason.EGRESS_DENIED)
    models = rules.models(job.tenant)
    if not models:
        none = EgressDenied("the policy allows no model on Bedrock", field="lane")
        raise NoAnswer(none, Reason.NO_MODEL_ALLOWED)
    return models


def _paid(claim: Claim) -> Answer | None:
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


def _read(claim: Claim, job: Job, reply: Reply, cost_nusd: int) -> Answer:
    """The answer in a reply."""
    try:
        content = answers.read(job, reply.text, finish=reply.finish)
    except BadAnswer as error:
        raise NoAnswer(error, Reason.BEDROCK_FAILED) from None
    answer = _answer(claim, content, reply, cost_nusd, job)
    if {one.name for one in answer.checks if not one.passed} & INDISPENSABLE:
        bad = BadAnswer("the frontier model's answer does not pass its checks")
        raise NoAnswer(bad, Reason.BEDROCK_FAILED)
    return answer


def _may_go_down(claim: Claim, job: Job) -> bool:
    """Whether a local answer is still to be tried: not if the job refused it, or it gave none."""
    return job.lane != "bedrock" and Reason.NO_ANSWER not in claim.record.reasons


def _wait_s(error: ForebayError) -> float:
    asked = error.retry_after if isinstance(error, PassingError) else None
    return asked or random.uniform(0.5, 1.0) * SHUT_S


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
        revision=reply.model,  # Bedrock's ids name the version; nobody outside sees the weights
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
