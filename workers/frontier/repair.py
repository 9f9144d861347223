"""A second try after an answer whose form was wrong, if the provider did not enforce the schema."""

from __future__ import annotations

from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Decide, Extract, Generate, Job
from forebay.routing.reasons import Reason
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.call import Call
from forebay.workers.frontier.calling.calls import Calls
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.provider import Reply
from forebay.workers.prompts import prompts


def refuses_schema(refusal: NoAnswer) -> bool:
    """Return whether the provider refused the schema of structured output, which costs nothing."""
    return isinstance(refusal.error, InvalidJob) and refusal.error.field == "schema"


def is_worth_a_repair(job: Job, reply: Reply) -> bool:
    """Return whether a whole answer to a schema was asked for in words alone."""
    request = job.request
    has_schema = isinstance(request, Decide) or (
        isinstance(request, Extract | Generate) and request.schema_ is not None
    )
    return has_schema and not reply.enforced and reply.finish == "stop"


def ask_again(
    calls: Calls, assignment: Assignment, first: Call, reply: Reply, refusal: NoAnswer
) -> tuple[Call, Reply]:
    """Show the model its answer and what is wrong with it, in one more call under the budget.

    Raises:
        NoAnswer: There is no second reply, perhaps because there is no money for it.
    """
    fault = refusal.error.message
    try:
        return calls.ask(
            assignment,
            first.model,
            lambda name: prompts.repair(first.prompt, reply.text, fault, prompt_id=name),
            role="repair",
            spent_nusd=calls.cost(first, reply).nusd,
        )
    except NoAnswer as later:
        raise (later if later.reason is Reason.CALL_OPEN else refusal) from None
