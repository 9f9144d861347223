"""Conclusion: make the outcome that is recorded on the ledger."""

from __future__ import annotations

from functools import partial

from forebay.routing.base import made
from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Answer
from forebay.routing.learning.audit_sampling import AuditSampler
from forebay.routing.store.answer_cache import AnswerCache
from forebay.workers.cascade.stages import DecidedAnswer
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Answered, Escalated, Failed


class Conclusion:
    """Makes outcomes, and shares an answer once the ledger has it.

    An answer is cached and sampled for audits only after it is settled: the job may have been
    cancelled or forgotten meanwhile.
    """

    def __init__(self, cache: AnswerCache, sampler: AuditSampler) -> None:
        self._cache = cache
        self._sampler = sampler

    def conclude(self, decided: DecidedAnswer) -> Answered | Escalated | Failed:
        """Return the outcome of a job whose answer is decided on."""
        step, answer = decided.next_step, answer_of(decided)
        if step.step == "escalate":
            return Escalated(",".join(step.reasons), answer)
        if answer is None:
            return Failed(no_answer(decided), step.reasons)
        return Answered(answer, partial(self._share, decided.attempt, answer))

    def _share(self, attempt: Attempt, answer: Answer) -> None:
        self._cache.put(attempt.job, attempt.claim.record.egress, answer)
        self._sampler.take(attempt.job, answer)


def no_answer(decided: DecidedAnswer) -> BadAnswer:
    """Return the error of a job without an answer; it names the checks that failed, and why."""
    failed = [check for check in decided.answer.checks if not check.passed]
    faults = ", ".join(f"{each.name} ({each.note})" if each.note else each.name for each in failed)
    because = f": it fails {faults}" if faults else ""
    return BadAnswer(f"the local lane has no answer that will do{because}")


def answer_of(decided: DecidedAnswer) -> Answer | None:
    """Return the answer, with the tokens of all generations; `None` if there is no content."""
    best, opinion, step = decided.answer, decided.opinion, decided.next_step
    if best.content is None:
        return None
    record = decided.attempt.claim.record
    generations = (
        [decided.first, *(each.raw for each in opinion.all)] if opinion else [decided.first]
    )
    tokens = [(raw.tokens_in, raw.tokens_cached, raw.tokens_out) for raw in generations]
    tokens_in, tokens_cached, tokens_out = map(sum, zip(*tokens, strict=True))
    return made(
        Answer,
        **record.heading() | {"doubt": step.doubt},
        status="done",
        lane="local",
        reasons=(*best.raw.reasons, *record.reasons, *step.reasons),
        degraded=decided.attempt.degraded or step.step != "keep",
        model=best.raw.model,
        revision=best.raw.revision,
        tokens_in=tokens_in,
        tokens_cached=tokens_cached,
        tokens_out=tokens_out,
        checks=(*best.checks, *(opinion.checks if opinion else ())),
        content=best.content,
    )
