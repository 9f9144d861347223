"""Decide what becomes of a checked local answer: keep, escalate, degrade or fail.

Before that, `wants_second` decides whether a second local answer is worth its time. Both are pure
functions; they send nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from forebay.routing.base import FrozenModel, changed, made
from forebay.routing.jobs import Check, Classification, Content, Decisions, Doubt, Job, Verdict
from forebay.routing.policy.egress import cannot_go, may_go, must_stay
from forebay.routing.policy.frontier_state import FrontierState, Pace
from forebay.routing.policy.policy_file import Policy, TenantPolicy
from forebay.routing.reasons import Reason, fault

MIN_AGREEMENT = 0.5  # at or above it, two answers count as saying the same


class NextStep(FrozenModel):
    """The step after a local answer: keep, escalate, degrade or fail.

    Attributes:
        step: `keep` it; `escalate` the job to Bedrock; settle the answer as `degrade`d, because
            the job cannot go to Bedrock; or `fail` with `BadAnswer`, because there is no answer.
        reasons: to append to the job's reasons. Empty if the answer is kept without doubt. If it is
            kept although it is doubted, they say so, and why the job stays.
        doubt: the doubt about the answer, with its threshold; None if it was not computed.
    """

    step: Literal["keep", "escalate", "degrade", "fail"]
    reasons: tuple[str, ...] = ()
    doubt: Doubt | None = None


_KEPT = NextStep(step="keep")


def wants_second(
    job: Job,
    verdict: Verdict | None,
    policy: Policy,
    state: FrontierState,
    *,
    depth: float,
    prose: bool,
) -> bool:
    """Return True if a second local answer is worth its time.

    That is so only if it can change what happens: the job may be escalated, or the answer may be
    marked unsure.

    Args:
        job: the job that is being answered.
        verdict: the router model's verdict, if there is one.
        policy: the policy in force.
        state: the state of the frontier.
        depth: the number of jobs that wait in the worker's own queue, per slot.
        prose: the answer is free text of a `generate` job.
    """
    rules = policy.tenant(job.tenant).second_opinion
    if depth > rules.stop_at_depth or not is_unsure(job, verdict, policy, prose=prose):
        return False
    return rules.deny_too if must_stay(job, policy, state) else may_go(job, policy, state)


def is_unsure(job: Job, verdict: Verdict | None, policy: Policy, *, prose: bool) -> bool:
    """Return True if a second answer may be wanted, as far as the job and its verdict tell."""
    rules = policy.tenant(job.tenant).second_opinion
    limit: float = 0.0 if job.kind == "embed" else getattr(rules, "prose" if prose else job.kind)
    return limit > 0 and (verdict is None or verdict.probability <= limit)


def should_escalate(
    job: Job,
    content: Content | None,
    checks: Sequence[Check],
    policy: Policy,
    state: FrontierState,
    doubt: Doubt | None = None,
) -> NextStep:
    """Return what becomes of a local answer that has been checked.

    `content` is None if the model gave no usable answer; `doubt` is given for an answer that
    passed its checks.
    """
    rules = policy.tenant(job.tenant)
    faults = _faults(content, checks) or _unsure(content, rules, state.pace)
    doubt = doubt and _compared(job, doubt, rules, state.pace)
    doubts = () if faults or doubt is None else _doubts(doubt, state.pace)
    if not faults and not doubts:
        return made(NextStep, step="keep", doubt=doubt) if doubt else _KEPT
    stays = must_stay(job, policy, state)
    if stays is not None and not faults:
        # Doubtful, but there is no better answer: keep it, marked as unsure.
        return NextStep(step="keep", reasons=(Reason.UNSURE, stays), doubt=doubt)
    return _leave(job, content, faults or doubts, policy, state, doubt)


def without_answer(job: Job, policy: Policy, state: FrontierState) -> NextStep:
    """Return what becomes of a job that the local engine cannot do: escalate it, or fail."""
    return _leave(job, None, (Reason.LOCAL_CANNOT,), policy, state)


def least_probability(kind: Literal["classify", "decide"], rules: TenantPolicy) -> float:
    """Return the probability below which an answer is not kept, if there is no pace."""
    limit: float = getattr(rules.min_probability, kind)
    return limit


def _leave(
    job: Job,
    content: Content | None,
    faults: tuple[str, ...],
    policy: Policy,
    state: FrontierState,
    doubt: Doubt | None = None,
) -> NextStep:
    """Escalate the job if it may leave and can go to Bedrock now; else degrade its answer."""
    stop = must_stay(job, policy, state) or cannot_go(job, policy, state)
    if stop is not None:
        step: Literal["degrade", "fail"] = "degrade" if content else "fail"
        return NextStep(step=step, reasons=(*faults, stop), doubt=doubt)
    waits = (Reason.SPILLWAY_WAIT,) if state.spillway == "shut" else ()
    return NextStep(step="escalate", reasons=(*faults, *waits), doubt=doubt)


def _compared(job: Job, doubt: Doubt, rules: TenantPolicy, pace: Pace | None) -> Doubt:
    """Return the doubt with its limit; the score by which a pace ranks it, only if there is one."""
    limit = _max_doubt(job, doubt, rules, pace)
    if pace is None:
        return changed(doubt, threshold=limit, score=None, cascade=None)
    return changed(doubt, threshold=limit)


def _max_doubt(job: Job, doubt: Doubt, rules: TenantPolicy, pace: Pace | None) -> float | None:
    """Return the doubt above which an answer is not kept, or None if there is no limit.

    Without a pace target, only answers with a second opinion can be doubted. Otherwise doubt would
    merely repeat the verdict.
    """
    if pace is not None:
        return pace.threshold
    limit: float = getattr(rules.max_doubt, job.kind, 1.0)
    return None if doubt.agreement is None else limit


def _doubts(doubt: Doubt, pace: Pace | None) -> tuple[str, ...]:
    """Return why an answer that passed its checks is not kept, as reason codes."""
    limit = doubt.threshold
    compared = doubt.probability if doubt.bound is None else doubt.bound
    too_much = pace.go if pace else limit is not None and compared > limit
    if not too_much:
        return ()
    return (Reason.SECOND_OPINION_DIFFERS if _differs(doubt) else Reason.DOUBTFUL,)


def _differs(doubt: Doubt) -> bool:
    """Return True if the second answer says something else."""
    return doubt.agreement is not None and doubt.agreement < MIN_AGREEMENT


def _faults(content: Content | None, checks: Sequence[Check]) -> tuple[str, ...]:
    """Return the reason codes of the checks that failed, and of a missing answer."""
    faults = tuple([fault(check.name) for check in checks if not check.passed])
    return faults if content else (*faults, Reason.NO_ANSWER)


def _unsure(content: Content | None, rules: TenantPolicy, pace: Pace | None) -> tuple[str, ...]:
    """Return a reason if the answer is too improbable. With a pace, the doubt covers that."""
    if pace is not None or not isinstance(content, Classification | Decisions):
        return ()
    limit = least_probability(content.kind, rules)
    improbable = content.probability is not None and content.probability < limit
    return (Reason.LOW_PROBABILITY,) if improbable else ()
