"""Decide what becomes of a checked local answer: keep, escalate, degrade or fail.

`wants_second` decides, before that, whether a second local answer is worth its time. Both are pure
functions; they send nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from forebay.routing.base import FrozenModel
from forebay.routing.jobs import Check, Classification, Content, Doubt, Job, Verdict
from forebay.routing.policy.egress import cannot_go, may_go, must_stay
from forebay.routing.policy.frontier_state import FrontierState, Pace
from forebay.routing.policy.policy_file import Policy, TenantPolicy
from forebay.routing.reasons import Reason

MIN_AGREEMENT = 0.5  # from here on two answers count as saying the same


class NextStep(FrozenModel):
    """What becomes of a local answer.

    Attributes:
        step: `keep` it; `escalate` the job to Bedrock; settle the answer as `degrade`d, because
            the job may not go up; or `fail` with `BadAnswer`, because there is no answer.
        reasons: to append to the job's; empty if the answer is kept.
        doubt: about the answer, if it was computed, and what it was compared with.
    """

    step: Literal["keep", "escalate", "degrade", "fail"]
    reasons: tuple[str, ...] = ()
    doubt: Doubt | None = None


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

    It is only if it can change the outcome: the job may be escalated, or the answer may be marked
    unsure. `depth` is the number of jobs that wait in the worker's own queue, per slot; `prose`
    says that the answer is free text of a `generate` job.
    """
    rules = policy.tenant(job.tenant).second_opinion
    upto: float = 0.0 if job.kind == "embed" else getattr(rules, "prose" if prose else job.kind)
    unsure = upto > 0 and (verdict is None or verdict.probability <= upto)
    if not unsure or depth > rules.stop_at_depth:
        return False
    return rules.deny_too if must_stay(job, policy, state) else may_go(job, policy, state)


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
    limited = doubt and doubt.model_copy(
        update={"threshold": _max_doubt(job, doubt, rules, state.pace)}
    )
    doubts = () if faults or limited is None else _doubts(limited, state.pace)
    if not faults and not doubts:
        return NextStep(step="keep", doubt=limited)
    stays = must_stay(job, policy, state)
    if stays is not None and not faults:
        # Doubtful, but no other answer is to be had: it is kept, and says that it is unsure.
        return NextStep(step="keep", reasons=(Reason.UNSURE, stays), doubt=limited)
    faults = faults or doubts
    stop = stays or cannot_go(job, policy, state)
    if stop is not None:
        step: Literal["degrade", "fail"] = "degrade" if content else "fail"
        return NextStep(step=step, reasons=(*faults, stop), doubt=limited)
    waits = (Reason.SPILLWAY_WAIT,) if state.spillway == "shut" else ()
    return NextStep(step="escalate", reasons=(*faults, *waits), doubt=limited)


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
    too_much = pace.go if pace else limit is not None and doubt.probability > limit
    if not too_much:
        return ()
    return (Reason.SECOND_OPINION_DIFFERS if _differs(doubt) else Reason.DOUBTFUL,)


def _differs(doubt: Doubt) -> bool:
    """Return True if a second answer says something else."""
    return doubt.agreement is not None and doubt.agreement < MIN_AGREEMENT


def _faults(content: Content | None, checks: Sequence[Check]) -> tuple[str, ...]:
    """Return what is wrong with an answer, as reason codes."""
    faults = tuple(f"{Reason.CHECK_FAILED}:{check.name}" for check in checks if not check.passed)
    return faults if content else (*faults, Reason.NO_ANSWER)


def _unsure(content: Content | None, rules: TenantPolicy, pace: Pace | None) -> tuple[str, ...]:
    """Return a reason if a label is too improbable. With a pace target, doubt covers that."""
    improbable = (
        isinstance(content, Classification)
        and content.probability is not None
        and content.probability < rules.min_probability.classify
    )
    return (Reason.LOW_PROBABILITY,) if improbable and pace is None else ()
