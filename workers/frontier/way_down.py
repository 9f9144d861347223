"""What becomes of a job without an answer from the frontier: it waits, goes down, or ends."""

from __future__ import annotations

from forebay.routing.errors import ForebayError, PassingError
from forebay.routing.jobs import Verdict
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.routing.store.backoff import jittered
from forebay.workers.frontier.answers import usable_draft
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.provider import OutcomeUnknown
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Answered, Failed, Outcome, Retry, Routed

WAIT_S = 5.0  # how long a job waits after a call that failed, if Bedrock names no time


def way_down(attempt: Attempt, policy: Policy, refusal: NoAnswer) -> Outcome:
    """Return what becomes of a job without an answer from Bedrock.

    The job waits if an earlier call is open, if the model's limits are used up for the moment, or
    if the error passes and the tenant's policy waits for Bedrock. Else it is answered with its
    local draft, or goes down to the local lane. If neither is possible, it waits if the error
    passes, and fails if it does not.
    """
    claim, error = attempt.claim, refusal.error
    if refusal.reason is Reason.CALL_OPEN:
        counted = isinstance(error, OutcomeUnknown)
        return Retry.after(error, delay_s=wait_s(error), counted=counted)
    passes = refusal.waits
    wait = Retry.after(error, delay_s=wait_s(error), counted=False)
    if refusal.reason is Reason.AT_LIMIT:
        return wait
    if passes and policy.tenant(attempt.job.tenant).when_shut == "wait":
        return wait
    reasons = (*claim.record.reasons, *refusal.codes)
    if draft := usable_draft(attempt):
        return Answered(draft.model_copy(update={"reasons": reasons, "degraded": True}))
    if _may_go_down(attempt):
        return _down(attempt, policy, reasons)
    return wait if passes else Failed(error, refusal.codes)


def _may_go_down(attempt: Attempt) -> bool:
    """Return False if the job is pinned to Bedrock, or the local lane had no answer before."""
    reasons = attempt.claim.record.reasons
    failed_locally = {Reason.NO_ANSWER, Reason.LOCAL_CANNOT}.intersection(reasons)
    return attempt.job.lane != "bedrock" and not failed_locally


def _down(attempt: Attempt, policy: Policy, reasons: tuple[str, ...]) -> Routed:
    """Send the job to the local lane; `Attempt.degraded` keeps it there."""
    job, record = attempt.job, attempt.claim.record
    verdict = record.verdict or Verdict(probability=0, version="none")
    stays = Reason.SECRET_FOUND.value in reasons
    egress = "deny" if stays else record.egress
    return Routed(policy.tenant(job.tenant).queue(job), egress, ",".join(reasons), verdict)


def wait_s(error: ForebayError) -> float:
    """Return the seconds to wait: as long as Bedrock asks, or some seconds with jitter."""
    retry_after = error.retry_after if isinstance(error, PassingError) else None
    return retry_after or jittered(WAIT_S)
