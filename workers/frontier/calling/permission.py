"""May a job be put to the frontier, by which models, and is it paid for already."""

from __future__ import annotations

from forebay.routing.errors import BadAnswer, EgressDenied
from forebay.routing.jobs import Answer, Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.policy.egress import egress
from forebay.routing.policy.lane import no_model
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason
from forebay.workers.frontier.calling.no_answer import NoAnswer


def allowed(claim: Claim, job: Job, policy: Policy) -> tuple[str, ...]:
    """Return the models that may see this job's content, in order of preference.

    Egress is decided anew, from the policy, the job and the record.

    Raises:
        NoAnswer: The content may not leave, or the policy allows no model.
    """
    if "deny" in {egress(job, policy), claim.record.egress}:
        denied = EgressDenied("the content of this job may not leave", field="egress")
        raise NoAnswer(denied, Reason.EGRESS_DENIED)
    models = policy.models_for(job)
    if not models:
        raise NoAnswer(no_model(job), Reason.NO_MODEL_ALLOWED)
    return models


def paid(claim: Claim) -> Answer | None:
    """Return the answer that an earlier worker paid for, but could not settle the job with.

    Raises:
        NoAnswer: An earlier worker paid and got no usable answer. Nobody pays a second time.
    """
    draft = claim.drafted()
    if draft is not None and draft.lane == "bedrock":
        return draft
    if claim.record.cost_nusd:
        wasted = BadAnswer("a call was paid for and gave no usable answer")
        raise NoAnswer(wasted, Reason.BEDROCK_FAILED)
    return None
