"""Reason codes: why a job took its lane. They are stable; decisions and answers carry them."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """A code and its meaning.

    In an answer, `check_failed` is followed by a colon and the name of the check, `secret_found` by
    a colon and the kind of the secret, `no_price` by a colon and the id of the model, `in_parts` by
    a colon and the number of parts.
    """

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        """Make a member that equals its code and has a `meaning`."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    # Before the answer: why this lane.
    ROUTED_AT_SUBMIT = (
        "routed_at_submit",
        "the job can only go to one lane, so it skipped the router and has no verdict",
    )
    EMBED_IS_LOCAL = (
        "embed_is_local",
        "embed is always local: vectors of two models cannot be compared",
    )
    EGRESS_DENIED = "egress_denied", "the content may not leave the building"
    TENANT_FORCED_DENY = (
        "tenant_forced_deny",
        "the tenant's policy keeps all content in the building",
    )
    SECRET_FOUND = "secret_found", "the content seems to hold a secret of the named kind"
    LOGPROBS_ARE_LOCAL = "logprobs_are_local", "Bedrock does not tell the probabilities of tokens"
    PINNED_LOCAL = "pinned_local", "the job asked for the local lane"
    PINNED_BEDROCK = "pinned_bedrock", "the job asked for the bedrock lane"
    NO_VERDICT = "no_verdict", "there is no verdict, so the local lane tries first"
    VERDICT_EASY = "verdict_easy", "the local answer will probably do"
    VERDICT_HARD = "verdict_hard", "the local answer will probably not do"
    PACE_STAYS = "pace_stays", "at the present pace, jobs with more to gain go to Bedrock"
    PACE_GOES = "pace_goes", "at the present pace, the job is among those with most to gain"

    BULK = "bulk", "a row of a bulk: the local lane answers first"

    # Why a job cannot go to Bedrock, or has to wait for it.
    NO_MODEL_ALLOWED = "no_model_allowed", "the policy allows no model on Bedrock"
    NO_PRICE = "no_price", "no price is listed for the named model on Bedrock"
    JOB_COST_CAP = "job_cost_cap", "a call might cost more than the job's max_cost_usd"
    BUDGET_SPENT = "budget_spent", "the remaining budget does not cover a call"
    SPILLWAY_SHUT = "spillway_shut", "Bedrock is unavailable; the policy takes the local answer"
    AT_LIMIT = "at_limit", "the model's calls, requests or tokens are used up for the moment"
    SPILLWAY_WAIT = "spillway_wait", "Bedrock is unavailable; the policy waits for it"

    # After the answer: what is wrong with it, or where it came from.
    CHECK_FAILED = "check_failed", "the answer failed the named check"
    UNCHECKED = "unchecked", "checking the answer took too much time or memory, and was stopped"
    LOW_PROBABILITY = (
        "low_probability",
        "the local model is not sure enough of its label or decision",
    )
    LOCAL_CANNOT = (
        "local_cannot",
        "the local engine cannot do the job: it is too long, or asks for what no grammar enforces",
    )
    NO_ANSWER = "no_answer", "the local model's output cannot be read as an answer"
    SECOND_OPINION_DIFFERS = (
        "second_opinion_differs",
        "a second local answer differs from the first",
    )
    DOUBTFUL = "doubtful", "by all evidence together, the local answer is too likely to be wrong"
    UNSURE = "unsure", "two local answers differ, and the job may not leave"
    SECOND_KEPT = "second_kept", "the first local answer failed its checks, the second passed them"
    CALL_OPEN = "call_open", "an earlier call may still be running, or its outcome is unknown"
    COST_ESTIMATED = (
        "cost_estimated",
        "Bedrock's token counts could not be priced, so the call's worst case was booked",
    )
    EGRESS_UNWRITTEN = (
        "egress_unwritten",
        "the egress log could not be written, so nothing left the building",
    )
    BEDROCK_FAILED = "bedrock_failed", "the model on Bedrock gave no usable answer"
    IN_BATCH = "in_batch", "the model on Bedrock answered in a batch, at the price of batches"
    IN_PARTS = (
        "in_parts",
        "the text is longer than the model's context, so it was answered in so many parts",
    )
    CACHED = "cached", "the same request was answered before"
    AUDIT = "audit", "the job audits a local answer that was kept; nobody receives its answer"
    AUDIT_DROPPED = (
        "audit_dropped",
        "the audit was not made: there was no answer to audit, or none from Bedrock",
    )


#: A local answer that is given for one of these reasons is degraded even if it passes its checks,
#: because the policy wanted Bedrock. Being denied egress alone does not degrade an answer.
DEGRADING = frozenset(
    {
        Reason.NO_MODEL_ALLOWED,
        Reason.NO_PRICE,
        Reason.JOB_COST_CAP,
        Reason.BUDGET_SPENT,
        Reason.SPILLWAY_SHUT,
        Reason.BEDROCK_FAILED,
    }
)


def fault(check: str) -> str:
    """Return the reason code of a check that failed."""
    return Reason.UNCHECKED.value if check == Reason.UNCHECKED else f"{Reason.CHECK_FAILED}:{check}"


#: The meaning of every code, for documentation and the CLI.
MEANINGS: dict[str, str] = {reason.value: reason.meaning for reason in Reason}


def meaning(code: str) -> str:
    """Return what a code in an answer's `reasons` means; empty for an unknown code."""
    return MEANINGS.get(code.partition(":")[0], "")
