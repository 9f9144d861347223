"""An audit, worked in the bedrock lane: Bedrock's word on an answer that the local lane gave."""

from __future__ import annotations

from functools import cached_property

from forebay.routing.errors import BadAnswer, ForebayError, UnknownJob
from forebay.routing.jobs import Answer, Check, Content, Job, Receipt, Verdict
from forebay.routing.learning.audits import PURPOSE, Audit, Audits
from forebay.routing.learning.job_types import digest
from forebay.routing.learning.verdicts import Verdicts, features
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.escalation import MIN_AGREEMENT
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.checks import agreement, answer_checks
from forebay.workers.checks.answer_checks import INDISPENSABLE
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier import judge_prompt
from forebay.workers.frontier.calls import Call, Calls, NoAnswer, SubBudget, allowed, paid
from forebay.workers.frontier.converse import Reply
from forebay.workers.prompts import parsing, prompts
from forebay.workers.runtime.execute import Audited, Failed, Outcome


class Auditor:
    """Works audits.

    1. Finds the answer that is audited. Where it is gone, or may not leave any more, none is asked.
    2. Asks the preferred model the same question, or whether the answer does, once and within the
       budget for audits. What stands in the way ends the audit: nobody waits for it.
    3. Writes down what it showed, and ends it without an answer.
    """

    def __init__(self, ledger: Ledger, calls: Calls, secret: bytes) -> None:
        self._ledger = ledger
        self._calls = calls
        self._audits = Audits(ledger)
        self._secret = secret

    @cached_property
    def _verdicts(self) -> Verdicts:
        """Loaded with the first audit: most fleets make none."""
        return Verdicts(RouterModel.load(), self._ledger.redis, self._secret)

    def work(self, claim: Claim, job: Job, rules: Policy) -> Outcome:
        """Audit one answer."""
        try:
            audited = self._audited(claim, job)
            model, *_ = allowed(claim, job, rules)
            said = paid(claim) or self._ask(claim, job, rules, audited, model)
        except NoAnswer as why:
            return Failed(why.error, (Reason.AUDIT_DROPPED, why.reason))
        shown = self._shown(job, audited, said)
        self._audits.learn(claim.id, *shown)
        return Audited(_receipt(claim, said, shown[0]))

    def _audited(self, claim: Claim, job: Job) -> Answer:
        """The answer that is audited, as it is there now."""
        audited_id = claim.record.audit_of or ""
        try:
            record = self._ledger.record(audited_id)
            (found,) = self._ledger.results([audited_id])
        except ForebayError as error:
            raise NoAnswer(error, Reason.NO_ANSWER) from None
        linked = record.audited_as == claim.id and audited_id.partition(".")[0] == job.tenant
        if record.egress != "allow" or not linked or not _auditable(found, job):
            raise NoAnswer(UnknownJob("no answer to audit", field="id"), Reason.NO_ANSWER)
        assert isinstance(found, Answer)
        return found

    def _ask(self, claim: Claim, job: Job, rules: Policy, audited: Answer, model: str) -> Answer:
        purse = SubBudget(PURPOSE, rules.tenant(job.tenant).audit.usd_per_day_nusd)
        call = self._calls.plan(job, model, lambda name: _question(job, audited.content, name))
        return self._read(
            claim, job, audited, call, self._calls.make(call, claim, job, rules, purse)
        )

    def _read(self, claim: Claim, job: Job, audited: Answer, call: Call, reply: Reply) -> Answer:
        """Book the call and keep what it said, in one step: no death leads to a second call."""
        cost, draft = self._calls.cost(call, reply), b""
        try:
            said = Answer(
                id=claim.id, kind=job.kind, egress="allow", status="done", lane="bedrock",
                model=reply.model, revision=reply.model, stand_in=reply.stand_in, cost_nusd=cost,
                tokens_in=reply.usage.prompt, tokens_out=reply.usage.output,
                content=_said(job, audited.content, reply),
            )  # fmt: skip
            draft = self._ledger.seal.close(said.model_dump_json().encode())
        finally:
            self._calls.book(call, cost, draft)
        return said

    def _shown(self, job: Job, audited: Answer, said: Answer) -> tuple[Audit, float]:
        """What the audit showed, and how much worse the local answer was than foretold."""
        plain, foretold = self._verdicts.plain(job)
        given = audited.verdict or Verdict(probability=plain.probability, version="none")
        compared, doubt = judge_prompt.comparable(job, audited.content), audited.doubt
        outcome = _outcome(audited.content, said.content, compared=compared)
        audit = Audit(
            job=audited.id, tenant=job.tenant, kind=job.kind, type=digest(job, self._secret),
            version=given.version, score=given.score, probability=given.probability,
            model=plain.version, base_score=plain.score, base_probability=plain.probability,
            features=features(job), agreement=doubt and doubt.agreement,
            doubt=doubt and doubt.probability,
            outcome=outcome, how="compared" if compared else "judged",
            cost_nusd=said.cost_nusd, stand_in=said.stand_in,
        )  # fmt: skip
        return audit, audit.gap - foretold


def _auditable(found: object, job: Job) -> bool:
    return (
        isinstance(found, Answer)
        and (found.lane, found.egress, found.kind) == ("local", "allow", job.kind)
        and not (found.degraded or found.cached)
    )


def _question(job: Job, content: Content, prompt_id: str) -> Prompt:
    if judge_prompt.comparable(job, content):
        return prompts.frontier(job, prompt_id=prompt_id)
    return judge_prompt.question(job, content, prompt_id=prompt_id)


def _said(job: Job, audited: Content, reply: Reply) -> Content:
    """Bedrock's answer, or its yes or no.

    Raises:
        NoAnswer: It is none that anything could be held against.
    """
    try:
        if not judge_prompt.comparable(job, audited):
            return judge_prompt.read(reply.text)
        said = parsing.parse_answer(job, reply.text, finish=reply.finish)
    except BadAnswer as error:
        raise NoAnswer(error, Reason.BEDROCK_FAILED) from None
    checks = answer_checks.check(job, said, finish=reply.finish)
    if {one.name for one in checks if not one.passed} & INDISPENSABLE:
        bad = BadAnswer("the frontier model's answer does not pass its checks")
        raise NoAnswer(bad, Reason.BEDROCK_FAILED)
    return said


def _outcome(audited: Content, said: Content, *, compared: bool) -> float:
    """How good the local answer is, 0 to 1."""
    if compared:
        return agreement.contents(audited, said)
    return float(getattr(said, "text", "") == "yes")


def _receipt(claim: Claim, said: Answer, audit: Audit) -> Receipt:
    note = f"outcome {audit.outcome:.2f}, {audit.how}"
    check = Check(name="audit", passed=audit.outcome >= MIN_AGREEMENT, note=note)
    made = said.receipt.model_dump(exclude={"cost_usd"})
    own = {"reasons": claim.record.reasons, "attempts": claim.record.attempts, "checks": (check,)}
    return Receipt.model_validate({**made, **own})
