"""The conversation that a response continues: what was asked and answered before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.asking.asking import RESULT_S
from forebay.producers.gateway.asking.chats import reply_of
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.openai.responses import reply
from forebay.producers.gateway.openai.responses.items import (
    MAX_ITEMS,
    InputCall,
    InputMessage,
    Item,
)
from forebay.producers.gateway.openai.responses.request import ResponsesRequest
from forebay.producers.gateway.openai.responses.store import kept
from forebay.routing.errors import EgressDenied, NotFound, UnknownJob
from forebay.routing.jobs import Answer, Job

FIELD = "previous_response_id"


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said before.

    Attributes:
        items: inputs and outputs, the oldest first; instructions are of one response alone.
        may_leave: all of it may leave the building.
    """

    items: Sequence[Item] = field(default=(), repr=False)
    may_leave: bool = True

    def check(self, job: Job) -> None:
        """Raise `EgressDenied` if the job would take out of the building what may not leave."""
        if job.egress == "allow" and not self.may_leave:
            words = "must be deny, as that of a response before it: its content may not leave"
            raise EgressDenied(words, field="forebay.egress")


async def conversation(by: Caller, body: ResponsesRequest) -> Conversation:
    """Return what was said before a request; nothing unless it names a response.

    Raises:
        NotFound: There is no such response, or one before it was deleted or not stored.
        InvalidRequest: A response has no answer (yet), or all of it is too long.
        Forbidden: The key may not read responses.
    """
    before = body.previous_response_id
    if before is None:
        return Conversation()
    by.must("read")
    items: list[Item] = []
    may_leave = True
    while before is not None:
        earlier, answer = await _earlier(by, before)
        items[:0] = [*earlier.input, *_output(before, earlier, answer)]
        may_leave = may_leave and answer.egress == "allow"
        if len(items) + len(body.input) > MAX_ITEMS:
            words = f"leads to more than {MAX_ITEMS} items: begin a conversation anew"
            raise InvalidRequest(words, field=FIELD)
        before = earlier.previous_response_id
    return Conversation(items, may_leave)


async def _earlier(by: Caller, response_id: str) -> tuple[ResponsesRequest, Answer[Any]]:
    """Return what a response was asked, and its answer."""
    client = by.gateway.client(by.tenant)
    try:
        job_id = reply.job_id_of(response_id, by.tenant)
        status = await client.status(job_id)
    except UnknownJob:
        status = None
    asked = await kept(by, job_id) if status else None
    if status is None or asked is None:
        words = "leads to a response that is not stored (any more)"
        raise NotFound(f"{words}: send the conversation as `input`", field=FIELD)
    if status.state != "done":
        words = f"leads to a response that is {reply.waiting(status, '')['status']}"
        raise InvalidRequest(f"{words}: it has no answer", field=FIELD)
    return asked, await client.result(job_id, timeout=RESULT_S)


def _output(response_id: str, asked: ResponsesRequest, answer: Answer[Any]) -> list[Item]:
    """Return the output of a response as items of an input."""
    text, calls = reply_of(answer.content, asked.form_of_answer())
    made = [
        InputCall(
            type="function_call", call_id=call["call_id"], name=call["name"],
            arguments=call["arguments"],
        )
        for call in reply.output_calls(response_id, calls)
    ]  # fmt: skip
    said = [InputMessage(role="assistant", content=text)] if text or not made else []
    return [*said, *made]
