"""Reason codes: why a job went where it went. Stable; every decision and answer carries them."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """A code and its meaning.

    After `check_failed` stand a colon and the check's name, after `secret_found` the kind.
    """

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        """A member that is its code, and knows its meaning."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    # Before the answer: why this lane.
    EMBED_IS_LOCAL = "embed_is_local", "vectors of two models differ, so embed is always local"
    EGRESS_DENIED = "egress_denied", "the content may not leave the building"
    TENANT_FORCED_DENY = "tenant_forced_deny", "the tenant's policy keeps all content in the house"
    SECRET_FOUND = "secret_found", "the content holds what looks like a secret of the kind named"
    PINNED_LOCAL = "pinned_local", "the job asked for the local lane"
    PINNED_BEDROCK = "pinned_bedrock", "the job asked for the bedrock lane"
    NO_VERDICT = "no_verdict", "nothing is known of its difficulty, so it is tried locally"
    VERDICT_EASY = "verdict_easy", "the local answer will probably do"
    VERDICT_HARD = "verdict_hard", "the local answer will probably not do"
    PACE_STAYS = "pace_stays", "at the present pace others go, which have more to gain"
    PACE_GOES = "pace_goes", "among those with most to gain, at the present pace"

    # What stands in the way of bedrock, or makes a job wait for it.
    NO_MODEL_ALLOWED = "no_model_allowed", "the policy allows no model on Bedrock"
    JOB_COST_CAP = "job_cost_cap", "a call might cost more than the job's max_cost_usd"
    BUDGET_SPENT = "budget_spent", "the budget left does not cover a call"
    SPILLWAY_SHUT = "spillway_shut", "Bedrock is not to be had; the policy takes the local answer"
    SPILLWAY_WAIT = "spillway_wait", "Bedrock is not to be had; the policy waits for it"

    # After the answer: what was wrong with it, or where it came from.
    CHECK_FAILED = "check_failed", "the local answer did not pass the check that is named"
    LOW_PROBABILITY = "low_probability", "the local lane is not sure enough of its label"
    NO_ANSWER = "no_answer", "the local lane gave nothing that can be read as an answer"
    SECOND_OPINION_DIFFERS = "second_opinion_differs", "a second local answer says something else"
    DOUBTFUL = "doubtful", "all that is known together makes the local answer likely wrong"
    UNSURE = "unsure", "two local answers differ, and the job may not leave"
    SECOND_KEPT = "second_kept", "the first local answer failed its checks, the second passed them"
    CALL_OPEN = "call_open", "an earlier call of the job may still run, or its end is unknown"
    BEDROCK_FAILED = "bedrock_failed", "Bedrock's model gave no answer that will do"
    CACHED = "cached", "an exact earlier answer was given again"
    AUDIT = "audit", "an audit of a local answer that was kept; nobody is given an answer of it"
    AUDIT_DROPPED = (
        "audit_dropped",
        "the audit was not made: no answer to audit, or none from Bedrock",
    )


#: A local answer given for one of these is degraded even when it passes its checks: the policy
#: wanted the other lane. A job that may not leave is not degraded by that alone.
DEGRADING = frozenset(
    {
        Reason.NO_MODEL_ALLOWED,
        Reason.JOB_COST_CAP,
        Reason.BUDGET_SPENT,
        Reason.SPILLWAY_SHUT,
        Reason.BEDROCK_FAILED,
    }
)


#: The meaning of every code, for documentation and the CLI.
MEANINGS: dict[str, str] = {reason.value: reason.meaning for reason in Reason}


def meaning(code: str) -> str:
    """What a code in an answer's `reasons` means; empty for a code that is none of ours."""
    return MEANINGS.get(code.partition(":")[0], "")
