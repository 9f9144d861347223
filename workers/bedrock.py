"""The bedrock lane: `celery -A forebay.workers.bedrock worker`. Its threads wait for calls.

The only worker that sends content out of the building. It checks egress itself, from the record and
from the job, sets money aside before each call, and books what the call cost after it, whatever has
become of the job meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from celery import Celery

from forebay.routing.backoff import jittered
from forebay.routing.errors import BadAnswer, ForebayError, PassingError
from forebay.routing.jobs import Answer, Content, Verdict
from forebay.routing.lanes import BEDROCK
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.prices import Prices
from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.policy_file import Policy, PolicyFile
from forebay.routing.reasons import Reason
from forebay.routing.store.answer_cache import AnswerCache, secret
from forebay.workers.checks import answer_checks
from forebay.workers.checks.answer_checks import INDISPENSABLE
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.auditor import Auditor
from forebay.workers.frontier.calls import Call, Calls, NoAnswer, SubBudget, allowed, paid
from forebay.workers.frontier.provider import OutcomeUnknown, Reply, open_provider
from forebay.workers.frontier.repair import (
    ask_again,
    is_worth_a_repair,
    refuses_schema,
    with_first,
)
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.prompts import parsing, prompts
from forebay.workers.runtime.actor import Actor, settings_of
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.leases import Leases
from forebay.workers.runtime.outcomes import (
    Answered,
    Failed,
    Outcome,
    Retry,
    Routed,
    recalled,
)

PromptOf = Callable[..., Prompt]  # from a job and a prompt's id

SHUT_S = 5.0  # how long a failed call shuts the spillway, if Bedrock names no time


class Bedrock:
    """Answers jobs by calls to Bedrock.

    1. Allows: checks egress again, from the record, the job and the policy.
    2. Recalls: an answer that was paid for already, or an exact earlier one from the cache.
    3. Reserves the worst case of the cost, and calls the preferred model, then the next one if
       that makes sense. A schema that Bedrock refuses is asked for in words, with one repair.
    4. Checks the reply and books the call's cost together with the answer, in one step.
    5. Takes the way down without an answer that will do: the job waits, is answered with its local
       draft, goes to the local lane, or fails.

    Audits are the `Auditor`'s.
    """

    def __init__(self, ledger: Ledger, settings: BedrockSettings) -> None:
        key = secret(ledger.redis, ledger.settings)
        prices = Prices.load(settings.prices_file)
        self._calls = Calls(ledger, open_provider(settings), prices)
        self._spillway = Spillway(ledger.redis)
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._leases = Leases(ledger)
        self._cache = AnswerCache(ledger.redis, key, ledger.settings.cache_s, ledger.seal)
        self._seal = ledger.seal
        self._auditor = Auditor(ledger, self._calls, key)

    def work(self, claim: Claim, /) -> Outcome:
        """Answer one job, or decide what becomes of it without an answer from Bedrock."""
        attempt, policy = Attempt.of(claim), self._policy.current()
        if claim.record.audit_of:
            with self._leases.holding(claim, _let_finish):
                return self._auditor.work(claim, attempt.job, policy)
        try:
            return self._answer(attempt, policy)
        except NoAnswer as refusal:
            self._protect(refusal)
            return _way_down(attempt, policy, refusal)

    def close(self) -> None:
        """End the thread that renews leases."""
        self._leases.close()

    def _answer(self, attempt: Attempt, policy: Policy) -> Outcome:
        """Allow, recall a paid answer, or call one model after the other."""
        claim = attempt.claim
        models = allowed(claim, attempt.job, policy)
        if draft := paid(claim):
            return Answered(draft)
        with self._leases.holding(claim, _let_finish):
            for model in models[:-1]:
                try:
                    return self._ask(attempt, policy, model)
                except NoAnswer as refusal:
                    if not refusal.another:
                        raise
            return self._ask(attempt, policy, models[-1])

    def _ask(self, attempt: Attempt, policy: Policy, model: str) -> Outcome:
        """Recall this model's earlier answer, or reserve the money, call, book and check."""
        claim, job = attempt.claim, attempt.job
        cached = self._cache.get(job, "allow", model, model)
        if cached is not None:
            return recalled(claim, cached)
        try:
            answer = self._bought(attempt, policy, model, prompts.frontier)
        except NoAnswer as refusal:
            if not refuses_schema(refusal):
                raise
            answer = self._bought(attempt, policy, model, prompts.in_words)
        return Answered(answer, lambda: self._cache.put(job, "allow", answer))

    def _bought(self, attempt: Attempt, policy: Policy, model: str, prompt_of: PromptOf) -> Answer:
        """Reserve the money, call, check and book.

        A schema that was asked for in words alone gets a second call if the answer does not fit.

        Raises:
            NoAnswer: There is no answer that will do.
        """
        claim, job = attempt.claim, attempt.job
        call = self._calls.plan(job, model, lambda name: prompt_of(job, prompt_id=name))
        reply = self._calls.make(call, claim, job, policy, SubBudget())
        try:
            return self._book(attempt, call, reply)
        except NoAnswer as refusal:
            if not is_worth_a_repair(job, reply):
                raise
            again, second = ask_again(self._calls, attempt, policy, call, reply, refusal)
        return self._book(attempt, again, second, first=(call, reply))

    def _book(
        self, attempt: Attempt, call: Call, reply: Reply, *, first: tuple[Call, Reply] | None = None
    ) -> Answer:
        """Check the reply; book the call and keep its answer in one step, lest somebody pays again.

        `first` is an earlier call for the same answer, and its reply; they are booked already.

        Raises:
            NoAnswer: The reply holds no answer that will do; its cost is booked all the same.
        """
        cost, draft = self._calls.cost(call, reply), b""
        try:
            answer = _check(attempt, reply, cost)
            if first is not None:
                answer = with_first(answer, first[1], self._calls.cost(*first))
            draft = self._seal.close(answer.model_dump_json().encode())
        finally:
            self._calls.book(call, cost, draft)
        return answer

    def _protect(self, refusal: NoAnswer) -> None:
        """Shut the spillway if the next call would fail as well."""
        if refusal.reason is Reason.CALL_OPEN or not isinstance(refusal.error, PassingError):
            return
        if not self._spillway.shut_for_s():
            self._spillway.shut(refusal.error.code, _wait_s(refusal.error))


def _let_finish() -> None:
    """Do nothing if the claim is lost: a call under way is billed anyway, so its answer is kept."""


def _check(attempt: Attempt, reply: Reply, cost_nusd: int) -> Answer:
    """Return the answer in a reply.

    Raises:
        NoAnswer: The reply cannot be read, or fails an indispensable check.
    """
    try:
        content = parsing.parse_answer(attempt.job, reply.text, finish=reply.finish)
    except BadAnswer as error:
        raise NoAnswer(error, Reason.BEDROCK_FAILED) from None
    answer = _make_answer(attempt, content, reply, cost_nusd)
    failed = [each for each in answer.checks if not each.passed and each.name in INDISPENSABLE]
    if failed:
        faults = ", ".join(f"{each.name} ({each.note})" for each in failed)
        unfit = BadAnswer(f"the frontier model's answer does not pass its checks: {faults}")
        raise NoAnswer(unfit, Reason.BEDROCK_FAILED)
    return answer


def _make_answer(attempt: Attempt, content: Content, reply: Reply, cost_nusd: int) -> Answer:
    record = attempt.claim.record
    checks = answer_checks.check(attempt.job, content, finish=reply.finish)
    faults = tuple(f"{Reason.CHECK_FAILED}:{check.name}" for check in checks if not check.passed)
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


def _way_down(attempt: Attempt, policy: Policy, refusal: NoAnswer) -> Outcome:
    """Return what becomes of a job without an answer from Bedrock.

    The job waits if an earlier call is open, or if the error passes and the tenant's policy waits
    for Bedrock. Else it is answered with its local draft, or goes down to the local lane. If
    neither is possible, it waits if the error passes, and fails if it does not.
    """
    claim, error = attempt.claim, refusal.error
    if refusal.reason is Reason.CALL_OPEN:
        counted = isinstance(error, OutcomeUnknown)
        return Retry(error.code, delay_s=_wait_s(error), counted=counted)
    passes = isinstance(error, PassingError)
    wait = Retry(error.code, delay_s=_wait_s(error), counted=False)
    if passes and policy.tenant(attempt.job.tenant).when_shut == "wait":
        return wait
    reasons = (*claim.record.reasons, refusal.reason.value)
    if draft := claim.drafted():
        return Answered(draft.model_copy(update={"reasons": reasons, "degraded": True}))
    if _may_go_down(attempt):
        return _down(attempt, policy, reasons)
    return wait if passes else Failed(error, (refusal.reason.value,))


def _may_go_down(attempt: Attempt) -> bool:
    """Return False if the job is pinned to Bedrock, or the local lane had no answer before."""
    reasons = attempt.claim.record.reasons
    failed_locally = {Reason.NO_ANSWER, Reason.LOCAL_CANNOT}.intersection(reasons)
    return attempt.job.lane != "bedrock" and not failed_locally


def _down(attempt: Attempt, policy: Policy, reasons: tuple[str, ...]) -> Routed:
    """Send the job to the local lane; `Attempt.degraded` keeps it there."""
    job, record = attempt.job, attempt.claim.record
    verdict = record.verdict or Verdict(probability=0, version="none")
    return Routed(policy.tenant(job.tenant).queue(job), record.egress, ",".join(reasons), verdict)


def _wait_s(error: ForebayError) -> float:
    """Return the seconds to wait: as long as Bedrock asks, or some seconds with jitter."""
    retry_after = error.retry_after if isinstance(error, PassingError) else None
    return retry_after or jittered(SHUT_S)


@cache
def _actor() -> Actor:
    settings = settings_of(BedrockSettings)
    return Actor(
        [BEDROCK],
        lambda ledger: Bedrock(ledger, settings),
        pool="threads",
        concurrency=settings.bedrock_concurrency,
    )


def __getattr__(name: str) -> Celery:
    """Make `app` when Celery asks for it; importing this module starts nothing."""
    if name != "app":
        raise AttributeError(name)
    return _actor().app
