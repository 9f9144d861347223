"""The requests of Anthropic's message batches. All results are in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic_core import to_json

from forebay.producers.gateway.anthropic.messages_reply import message
from forebay.producers.gateway.anthropic.messages_request import MessagesRequest
from forebay.producers.gateway.asking.chats import jobs
from forebay.producers.gateway.batch_work.line_format import (
    Desk,
    Translated,
    Unanswered,
    check_no_stream,
    told_tools,
    tools_told,
)
from forebay.producers.gateway.errors import Fault
from forebay.producers.gateway.shapes import anthropic_error
from forebay.producers.gateway.wire import read
from forebay.routing.jobs import Answer

#: Of one batch, as Anthropic limits them; the body of a request is bounded besides.
MAX_REQUESTS, MAX_BYTES = 100_000, 256 * 1024 * 1024
_TYPES = {"expired": "expired", "cancelled": "canceled"}


class MessageLines:
    """The lines for `/v1/messages`."""

    endpoint: ClassVar[str] = "/v1/messages"
    max_requests: ClassVar[int] = MAX_REQUESTS
    max_bytes: ClassVar[int] = MAX_BYTES
    errors_apart: ClassVar[bool] = False

    def translate(self, body: Any, desk: Desk) -> Translated:
        """Return the job of a request."""
        request = read(MessagesRequest, to_json(body))
        check_no_stream(request.stream)
        chat = request.chat()
        made = jobs(chat, desk.target(request.model), request.forebay, desk.headers, desk.tenant)
        return Translated(made, {**tools_told(chat)})

    def response(self, answers: Sequence[Answer], told: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a message."""
        return message(answers[0], told_tools(told))

    def answered(self, line_id: str, custom_id: str, body: Mapping[str, Any]) -> Any:  # noqa: ARG002 - of the contract
        """Return the result of a request with an answer."""
        return _result(custom_id, {"type": "succeeded", "message": body})

    def failed(self, line_id: str, custom_id: str, fault: Fault) -> Any:
        """Return the result of a request that was refused, or failed."""
        error = anthropic_error(fault, f"req_{line_id}")
        return _result(custom_id, {"type": "errored", "error": error})

    def unanswered(self, line_id: str, custom_id: str, why: Unanswered) -> Any:  # noqa: ARG002 - of the contract
        """Return the result of a request that nobody answered in time."""
        return _result(custom_id, {"type": _TYPES[why]})


def _result(custom_id: str, result: Any) -> Any:
    return {"custom_id": custom_id, "result": result}
