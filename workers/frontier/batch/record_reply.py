"""From the result of a record to its cost and its answer, as if a call had brought it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

from forebay.routing.bedrock_batches.batch_record import BatchRecord
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer
from forebay.routing.limits.prices import Prices
from forebay.routing.logs import Event, event, place
from forebay.routing.policy.capabilities import Capabilities
from forebay.routing.reasons import Reason
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.frontier.answers import checked, read_answer, stored
from forebay.workers.frontier.bedrock.converse_reply import read_reply
from forebay.workers.frontier.calling.call import Call
from forebay.workers.frontier.calling.cost import Cost, cost_of
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.provider import BilledFailure, Reply
from forebay.workers.frontier.sending.stops import ended
from forebay.workers.frontier.terms import Terms
from forebay.workers.prompts import prompts
from forebay.workers.runtime.attempt import Attempt

log = logging.getLogger(__name__)

_NO_TURNS = (Turn(role="user", content=""),)  # the prompt of a record is not needed any more


@dataclass(frozen=True, slots=True)
class PricedReply:
    """The usable reply in a result, if any, what the record cost, and what its model takes."""

    reply: Reply | None = field(repr=False)
    cost: Cost
    can: Capabilities


def priced(
    batch: BatchRecord, call_id: str, worst_nusd: int, body: dict[str, Any], *, stand_in: bool
) -> PricedReply:
    """Price the body of a result by the prices that the batch was written under.

    A result whose usage cannot be priced costs `worst_nusd`.
    """
    prices = Prices.model_validate_json(batch.prices)
    terms = Terms(base=batch.base, tier="batch")
    prompt = Prompt(id=call_id, messages=_NO_TURNS, max_tokens=1)
    call = Call(call_id, prompt, batch.model, worst_nusd, prices, 0, 0, terms)
    # A body may name the tier of an ordinary call. All of a batch is billed as a batch.
    body = {name: value for name, value in body.items() if name != "serviceTier"}
    try:
        reply: Reply | BilledFailure = read_reply({}, body, (batch.model, "batch"), 0.0)
    except BilledFailure as error:
        reply = error
    cost = cost_of(call, reply.usage, reply.tier, stand_in=stand_in)
    usable = reply if isinstance(reply, Reply) else None
    return PricedReply(usable, cost, prices.capabilities(batch.base))


def answer_of(attempt: Attempt, priced_reply: PricedReply) -> Answer | None:
    """Return the checked answer in a result; `None` if there is none that will do."""
    reply, cost = priced_reply.reply, priced_reply.cost
    if reply is None:
        return None
    try:
        prompt = prompts.frontier(attempt.job, prompt_id=attempt.prompt_id)
        reply = replace(ended(reply, prompt, priced_reply.can), stand_in=cost.stand_in)
        answer = checked(attempt, read_answer(attempt, reply, cost))
        answer = answer.model_copy(update={"reasons": (Reason.IN_BATCH.value, *answer.reasons)})
        stored(answer)
    except (NoAnswer, ForebayError):  # the job's worker takes the way down
        return None
    except Exception as error:  # noqa: BLE001 - the record is billed, and others wait behind it
        job_id = attempt.claim.id
        log.error(  # noqa: TRY400 - the message may hold content
            "%s at %s in a result of a batch", type(error).__name__, place(error),
            extra=event(Event.JOB_BROKE, job=job_id),
        )  # fmt: skip
        return None
    return answer
