"""The bedrock lane: `celery -A forebay.workers.bedrock worker`. Threads that wait for calls to Bedrock.

The only worker that sends content out of the building. It checks egress itself, from the record and
from the job, sets money aside before each call, and books what the call cost after it, whatever has
become of the job meanwhile.
"""

from __future__ import annotations

import random

from forebay.routing.errors import BadAnswer, ForebayError, PassingError
from forebay.routing.jobs import Answer, Content, Job, Verdict
from forebay.routing.lanes import BEDROCK
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.policy_file import Policy, PolicyFile
from forebay.routing.reasons import Reason
from forebay.routing.store.answer_cache import AnswerCache, secret
from forebay.workers.checks import answer_checks
from forebay.workers.checks.answer_checks import INDISPENSABLE
from forebay.workers.frontier.auditor import Auditor
from forebay.workers.frontier.calls import Call, Calls, NoAnswer, SubBudget, allowed, paid
from forebay.workers.frontier.converse import OutcomeUnknown, Reply
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.prompts import parsing, prompts
from forebay.workers.runtime.actor import Actor, settings_of
from forebay.workers.runtime.execute import Answered, Failed, Outcome, Retry, Routed, recalled
from forebay.workers.runtime.leases import Leases

SHUT_S = 5.0  # how long a call that failed for all keeps the spillway shut


class Bedrock:
    """Works jobs by calls to Bedrock: check egress, recall, reserve, call, book, check."""

    def __init__(self, ledger: Ledger, settings: BedrockSettings) -> None:
        kept_s = ledger.settings.cache_s
        key = secret(ledger.redis, ledger.settings)
        self._calls = Calls(ledger, settings)
        self._spillway = Spillway(ledger.redis)
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._leases = Leases(ledger)
        self._cache = AnswerCache(ledger.redis, key, kept_s, ledger.seal)
        self._seal = ledger.seal
        self._auditor = Auditor(ledger, self._calls, key)

    def work(self, claim: Claim, /) -> Outcome:
        """Answer one job, or say what becomes of it without an answer from here."""
        job, rules = claim.job(), self._policy.current()
        if claim.record.audit_of:
            with self._leases.holding(claim, lambda: None):
                return self._auditor.work(claim, job, rules)
        try:
            models = allowed(claim, job, rules)
            if found := paid(claim):
                return Answered(found)
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
        call = self._calls.plan(job, model, lambda name: prompts.frontier(job, prompt_id=name))
        reply = self._calls.make(call, claim, job, rules, SubBudget())
        return self._answered(claim, job, call, reply)

    def _answered(self, claim: Claim, job: Job, call: Call, reply: Reply) -> Outcome:
        """Book the call and keep its answer, in one step: no death leads to a second call."""
        cost, draft = self._calls.cost(call, reply), b""
        try:
            answer = _read(claim, job, reply, cost)
            draft = self._seal.close(answer.model_dump_json().encode())
        finally:
            self._calls.book(call, cost, draft)
        return Answered(answer, lambda: self._cache.put(job, "allow", answer))

    def _without(self, claim: Claim, job: Job, rules: Policy, why: NoAnswer) -> Outcome:
        """No answer from here: wait, or the local one as degraded, or one to be made, or none."""
        error, passes = why.error, isinstance(why.error, PassingError)
        if why.reason is Reason.CALL_OPEN:
            counted = isinstance(error, OutcomeUnknown)
            return Retry(error.code, delay_s=_wait_s(error), counted=counted)
        if passes and not self._spillway.shut_for_s():
            self._spillway.shut(error.code, _wait_s(error))
        if passes and rules.tenant(job.tenant).when_shut == "wait":
            return Retry(error.code, delay_s=_wait_s(error), counted=False)
        reasons = (*claim.record.reasons, why.reason.value)
        if draft := claim.drafted():
            return Answered(draft.model_copy(update={"reasons": reasons, "degraded": True}))
        if _may_go_down(claim, job):
            queue = rules.tenant(job.tenant).queue(job)
            verdict = claim.record.verdict or Verdict(probability=0, version="none")
            return Routed(queue, claim.record.egress, ",".join(reasons), verdict)
        if passes:  # nothing else to give: wait all the same
            return Retry(error.code, delay_s=_wait_s(error), counted=False)
        return Failed(error, (why.reason.value,))


def _read(claim: Claim, job: Job, reply: Reply, cost_nusd: int) -> Answer:
    """The answer in a reply."""
    try:
        content = parsing.parse_answer(job, reply.text, finish=reply.finish)
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
    checks = answer_checks.check(job, content, finish=reply.finish)
    faults = tuple(f"{Reason.CHECK_FAILED}:{one.name}" for one in checks if not one.passed)
    return Answer(
        **record.heading(),
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
        checks=checks,
        content=content,
    )


def _start(ledger: Ledger) -> Bedrock:
    return Bedrock(ledger, _settings)


_settings = settings_of(BedrockSettings)
app = Actor([BEDROCK], _start, pool="threads", concurrency=_settings.bedrock_concurrency).app
