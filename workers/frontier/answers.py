"""From a reply of the frontier to an answer that is kept: read, stored, then checked."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Answer, Check, Generation
from forebay.routing.limits.prices import Usage
from forebay.routing.reasons import Reason, fault
from forebay.workers.checks import bounded as bounded_checks
from forebay.workers.checks.answer_checks import INDISPENSABLE
from forebay.workers.engines.engine import Ending
from forebay.workers.frontier.calling.cost import Cost
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.provider import Reply
from forebay.workers.isolation import pool
from forebay.workers.prompts import bounded
from forebay.workers.runtime.attempt import Attempt


def stored(answer: Answer) -> bytes:
    """Return the answer as it is stored.

    Raises:
        NoAnswer: It holds what JSON cannot, such as half a surrogate pair.
    """
    try:
        return answer.model_dump_json().encode()
    except ValueError:
        bad = BadAnswer("the frontier model's answer cannot be stored")
        raise NoAnswer(bad, Reason.BEDROCK_FAILED) from None


def read_answer(attempt: Attempt, reply: Reply, cost: Cost) -> Answer:
    """Return the answer in a reply, marked as `unchecked`.

    Raises:
        NoAnswer: The reply cannot be read.
    """
    record = attempt.claim.record
    try:
        with pool.shielded():
            content = bounded.parse_answer(attempt.job, reply.text, finish=reply.finish)
    except BadAnswer as error:
        raise NoAnswer(error, Reason.BEDROCK_FAILED) from None
    if isinstance(content, Generation):
        content = content.model_copy(update={"stop_sequence": reply.stop_sequence})
    usage = reply.usage or Usage()
    estimated = (Reason.COST_ESTIMATED.value,) if cost.estimated else ()
    return Answer(
        **record.heading(),
        status="done",
        lane="bedrock",
        # The last reason says why this lane answered.
        reasons=(*estimated, *record.reasons, Reason.UNCHECKED.value),
        degraded=True,
        stand_in=reply.stand_in,
        model=reply.model,
        revision=reply.model,  # Bedrock's ids name the version; nobody outside sees the weights
        tokens_in=usage.prompt,
        tokens_cached=usage.cache_read,
        tokens_out=usage.output,
        cost_nusd=cost.nusd,
        checks=(Check(name=Reason.UNCHECKED, passed=False, note="not checked yet"),),
        content=content,
    )


def with_earlier(answer: Answer, earlier: Sequence[tuple[Reply, Cost]], parts: int = 0) -> Answer:
    """Return the answer with the tokens and the cost of earlier calls for it added.

    `parts` says into how many parts the job's text was cut, if it was.
    """
    usages = [reply.usage or Usage() for reply, _ in earlier]
    codes = {f"{Reason.IN_PARTS}:{parts}": parts > 1}
    codes[Reason.COST_ESTIMATED] = any(cost.estimated for _, cost in earlier)
    new = [code for code, holds in codes.items() if holds and code not in answer.reasons]
    return answer.model_copy(
        update={
            "reasons": (*new, *answer.reasons),
            "tokens_in": answer.tokens_in + sum(usage.prompt for usage in usages),
            "tokens_cached": answer.tokens_cached + sum(usage.cache_read for usage in usages),
            "tokens_out": answer.tokens_out + sum(usage.output for usage in usages),
            "cost_nusd": answer.cost_nusd + sum(cost.nusd for _, cost in earlier),
        }
    )


def checked(attempt: Attempt, answer: Answer, *, finish: Ending = "stop") -> Answer:
    """Return the answer with its checks, unless it has them already.

    Raises:
        NoAnswer: The answer fails an indispensable check.
    """
    if all(check.name != Reason.UNCHECKED for check in answer.checks):
        return answer
    checks = bounded_checks.check(attempt.job, answer.content, finish=finish)
    failed = [check.name for check in checks if not check.passed]
    if INDISPENSABLE.intersection(failed):
        faults = ", ".join(
            f"{check.name} ({check.note})"
            for check in checks
            if not check.passed and check.name in INDISPENSABLE
        )
        bad = BadAnswer(f"the frontier model's answer does not pass its checks: {faults}")
        raise NoAnswer(bad, Reason.BEDROCK_FAILED)
    reasons = tuple(reason for reason in answer.reasons if reason != Reason.UNCHECKED)
    return answer.model_copy(
        update={
            "checks": checks,
            "reasons": (*reasons, *map(fault, failed)),
            "degraded": bool(failed),
        }
    )


def usable_draft(attempt: Attempt) -> Answer | None:
    """Return the answer that is kept with the job; `None` if there is none that will do."""
    draft = attempt.claim.drafted()
    try:
        return draft and checked(attempt, draft)
    except NoAnswer:
        return None
