"""Audits, worked in the frontier lane: a frontier model shows how good a local answer is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Literal

from forebay.routing.errors import BadAnswer, ForebayError, UnknownJob
from forebay.routing.jobs import Answer, Check, Content, Job, Receipt
from forebay.routing.learning.audit_maker import AuditMaker
from forebay.routing.learning.audits import PURPOSE, Audit, Audits, chosen
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.prices import Usage
from forebay.routing.logs import Event, event
from forebay.routing.policy.escalation import MIN_AGREEMENT
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.routing.scoring.request_features import request_features
from forebay.workers.checks import bounded as bounded_checks
from forebay.workers.checks.answer_checks import INDISPENSABLE
from forebay.workers.checks.answer_features import as_text, text_features
from forebay.workers.checks.final_answer import numbers
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier import judge_prompt
from forebay.workers.frontier.calling.assignment import Assignment, SubBudget
from forebay.workers.frontier.calling.call import Call
from forebay.workers.frontier.calling.calls import Calls
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.calling.permission import allowed, paid
from forebay.workers.frontier.provider import Reply
from forebay.workers.frontier.repair import refuses_schema
from forebay.workers.frontier.secret_check import SecretCheck
from forebay.workers.isolation import pool
from forebay.workers.prompts import bounded, prompts
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Audited, Failed, Outcome

_log = logging.getLogger(__name__)


class Auditor:
    """Works audits.

    1. Finds the local answer to audit. If the answer is gone, or may no longer leave, nothing is
       asked.
    2. Asks the preferred model, within the budget for audits: for an answer of its own to
       compare, or, as a judge, for yes or no about the local one. An obstacle ends the audit,
       since nobody waits for its result.
    3. Records what the audit showed, and ends the audit's job without an answer.
    """

    def __init__(self, ledger: Ledger, calls: Calls, secret: bytes, secrets: SecretCheck) -> None:
        self._ledger = ledger
        self._calls = calls
        self._audits = Audits(ledger)
        self._secret = secret
        self._maker = AuditMaker(ledger.redis, secret)
        self._secrets = secrets

    def work(self, claim: Claim, job: Job, policy: Policy) -> Outcome:
        """Audit one local answer."""
        sub_budget = SubBudget(PURPOSE, policy.tenant(job.tenant).audit.usd_per_day_nusd)
        assignment = Assignment(claim, job, policy, sub_budget)
        try:
            local = self._local_answer(claim, job)
            model, *_ = allowed(claim, job, policy)
            second = paid(claim) or self._ask(assignment, local, model)
            _require_sound(job, local.content, second.content)
        except NoAnswer as why:
            return Failed(why.error, (Reason.AUDIT_DROPPED, *why.codes))
        audit, excess = self._compare(job, local, second)
        self._audits.learn(claim.id, audit, excess)
        return Audited(_receipt(claim, second, audit))

    def _local_answer(self, claim: Claim, job: Job) -> Answer:
        """Return the answer to audit as the ledger has it now.

        Raises:
            NoAnswer: The answer is gone, or this job may not audit it.
        """
        audited_id = claim.record.audit_of or ""
        try:
            record = self._ledger.record(audited_id)
            (result,) = self._ledger.results([audited_id])
        except ForebayError as error:
            raise NoAnswer(error, Reason.NO_ANSWER) from None
        linked = record.audited_as == claim.id and audited_id.partition(".")[0] == job.tenant
        if record.egress != "allow" or not linked or not _can_be_audited(result, job):
            raise NoAnswer(UnknownJob("no answer to audit", field="id"), Reason.NO_ANSWER)
        assert isinstance(result, Answer)
        return result

    def _ask(self, assignment: Assignment, local: Answer, model: str) -> Answer:
        """Ask the model; a schema that it refuses is asked for in words, as in the lane itself.

        Else only answers to simple schemas would be audited.
        """
        job = assignment.job
        self._secrets.check(job, assignment.policy, local.content)
        prompt_of = partial(_prompt, job, local.content)
        try:
            call, reply = self._call(assignment, model, prompt_of)
        except NoAnswer as refusal:
            if not refuses_schema(refusal):
                raise
            in_words = partial(prompts.in_words, job)
            call, reply = self._call(assignment, model, in_words)
        return self._read(job, local, call, reply)

    def _call(
        self, assignment: Assignment, model: str, prompt_of: Callable[..., Prompt]
    ) -> tuple[Call, Reply]:
        return self._calls.ask(assignment, model, lambda name: prompt_of(prompt_id=name))

    def _read(self, job: Job, local: Answer, call: Call, reply: Reply) -> Answer:
        """Book the call and keep its answer in one step, so that no death leads to a second call.

        Raises:
            NoAnswer: The reply holds nothing to compare; it is booked all the same.
        """
        cost, draft = self._calls.cost(call, reply), b""
        usage = reply.usage or Usage()
        try:
            second = Answer(
                id=job.id, kind=job.kind, egress="allow", status="done", lane="bedrock",
                model=reply.model, revision=reply.model, stand_in=reply.stand_in,
                cost_nusd=cost.nusd, tokens_in=usage.prompt, tokens_out=usage.output,
                content=_content(job, local.content, reply),
            )  # fmt: skip
            draft = self._ledger.seal.close(second.model_dump_json().encode())
        except NoAnswer as why:
            why.estimated = cost.estimated
            raise
        finally:
            self._calls.book(call, cost, draft)
        return second

    def _compare(self, job: Job, local: Answer, second: Answer) -> tuple[Audit, float]:
        """Return the audit, and how much worse the local answer is than was predicted."""
        compared = judge_prompt.can_be_compared(job, local.content)
        outcome = _quality(local.content, second.content, compared=compared)
        how: Literal["compared", "judged"] = "compared" if compared else "judged"
        return self._maker.make(job, local, second, outcome, how, numbers=_numbers(job, local))

    def learn_from_draft(self, attempt: Attempt, answer: Answer, policy: Policy) -> None:
        """Compare the local answer of an escalated job with the answer that it got instead.

        That costs no call, and shows how often a doubted answer is wrong, which audits of kept
        answers cannot. Only tenants with audits are learned from. Errors are only logged.
        """
        job, share = attempt.job, policy.tenant(attempt.job.tenant).audit.share
        if attempt.claim.record.doubt is None or not share:
            return
        sampled = chosen(job.id, share, self._secret)
        try:
            local = attempt.claim.drafted()
            if local is None or local.lane != "local" or answer.degraded:
                return
            if judge_prompt.can_be_compared(job, local.content):
                outcome = _quality(local.content, answer.content, compared=True)
                audit, excess = self._maker.make(
                    job,
                    local,
                    answer,
                    outcome,
                    "escalated",
                    sampled=sampled,
                    numbers=_numbers(job, local),
                )
                self._audits.learn(job.id, audit, excess)
        except ForebayError as error:
            text = "nothing is learned from the local answer of %s: %s"
            _log.warning(text, job.id, error, extra=event(Event.JOB_UNAUDITED, job=job.id))


def _numbers(job: Job, local: Answer) -> dict[str, float]:
    """Return numbers about the local answer, too coarse to tell its content."""
    asked = frozenset(numbers(request_features(job)[0]))
    text = as_text(local.content)
    return {name: round(value, 1) for name, value in text_features("first", text, asked).items()}


def _can_be_audited(result: object, job: Job) -> bool:
    return (
        isinstance(result, Answer)
        and (result.lane, result.egress, result.kind) == ("local", "allow", job.kind)
        and not (result.degraded or result.cached)
    )


def _prompt(job: Job, local: Content, *, prompt_id: str) -> Prompt:
    if judge_prompt.can_be_compared(job, local):
        return prompts.frontier(job, prompt_id=prompt_id)
    return judge_prompt.prompt_to_judge(job, local, prompt_id=prompt_id)


def _content(job: Job, local: Content, reply: Reply) -> Content:
    """Return the frontier model's answer, or its yes or no as a judge.

    Raises:
        NoAnswer: The reply says nothing about the local answer.
    """
    try:
        if not judge_prompt.can_be_compared(job, local):
            return judge_prompt.yes_or_no(reply.text)
        with pool.shielded():
            return bounded.parse_answer(job, reply.text, finish=reply.finish)
    except BadAnswer as error:
        raise NoAnswer(error, Reason.BEDROCK_FAILED) from None


def _require_sound(job: Job, local: Content, second: Content) -> None:
    """Check the frontier model's answer, once its call is booked.

    Raises:
        NoAnswer: The answer does not pass an indispensable check.
    """
    if not judge_prompt.can_be_compared(job, local):
        return  # a yes or no
    checks = bounded_checks.check(job, second)
    if {check.name for check in checks if not check.passed} & INDISPENSABLE:
        bad = BadAnswer("the frontier model's answer does not pass its checks")
        raise NoAnswer(bad, Reason.BEDROCK_FAILED)


def _quality(local: Content, second: Content, *, compared: bool) -> float:
    """Return how good the local answer is, from 0 to 1."""
    if compared:
        return bounded_checks.contents(local, second)
    return float(getattr(second, "text", "") == "yes")


def _receipt(claim: Claim, second: Answer, audit: Audit) -> Receipt:
    note = f"outcome {audit.outcome:.2f}, {audit.how}"
    check = Check(name="audit", passed=audit.outcome >= MIN_AGREEMENT, note=note)
    call = second.receipt.model_dump(exclude={"cost_usd"})
    own = {"reasons": claim.record.reasons, "attempts": claim.record.attempts, "checks": (check,)}
    return Receipt.model_validate({**call, **own})
