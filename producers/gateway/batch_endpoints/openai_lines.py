"""The lines of OpenAI's batches: chats, responses, embeddings and decisions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic_core import from_json, to_json

from forebay.producers.gateway.asking.chats import jobs
from forebay.producers.gateway.batch_work.line_format import (
    Desk,
    Translated,
    Unanswered,
    check_no_stream,
    told_tools,
    tools_told,
)
from forebay.producers.gateway.decisions.decision_job import decision_job
from forebay.producers.gateway.decisions.openai_reply import decision
from forebay.producers.gateway.decisions.openai_request import DecisionRequest
from forebay.producers.gateway.errors import Fault, NotSupported
from forebay.producers.gateway.openai.chat_request import ChatRequest
from forebay.producers.gateway.openai.embeddings import EmbeddingRequest, embedded, embedding_job
from forebay.producers.gateway.openai.replies import completion
from forebay.producers.gateway.openai.responses import reply as responses_reply
from forebay.producers.gateway.openai.responses.asked import with_asked
from forebay.producers.gateway.openai.responses.request import ResponsesRequest
from forebay.producers.gateway.shapes import openai_error
from forebay.producers.gateway.wire import Body, read
from forebay.routing.jobs import Answer

#: Of one batch, as OpenAI limits them.
MAX_REQUESTS, MAX_BYTES = 50_000, 200 * 1024 * 1024
_WHY = {
    "expired": "this request had no answer before the completion window ended",
    "cancelled": "this request had no answer before the batch was cancelled",
}


class OpenAILines(ABC):
    """What all of OpenAI's lines have in common."""

    endpoint: ClassVar[str]
    max_requests: ClassVar[int] = MAX_REQUESTS
    max_bytes: ClassVar[int] = MAX_BYTES
    errors_apart: ClassVar[bool] = True

    @abstractmethod
    def translate(self, body: Any, desk: Desk) -> Translated:
        """Return the jobs of a line."""

    @abstractmethod
    def response(self, answers: Sequence[Answer], told: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the live endpoint would respond."""

    def answered(self, line_id: str, custom_id: str, body: Mapping[str, Any]) -> Any:
        """Return the line of the output for a request with an answer."""
        return _line(line_id, custom_id, _response(line_id, 200, body), None)

    def failed(self, line_id: str, custom_id: str, fault: Fault) -> Any:
        """Return the line of the error file for a request that was refused, or failed."""
        body = openai_error(fault, f"req_{line_id}")
        return _line(line_id, custom_id, _response(line_id, fault.status, body), None)

    def unanswered(self, line_id: str, custom_id: str, why: Unanswered) -> Any:
        """Return the line of the error file for a request that nobody answered in time."""
        return _line(line_id, custom_id, None, {"code": f"batch_{why}", "message": _WHY[why]})


class ChatLines(OpenAILines):
    """The lines for `/v1/chat/completions`."""

    endpoint = "/v1/chat/completions"

    def translate(self, body: Any, desk: Desk) -> Translated:
        """Return the jobs of a line: one for each choice."""
        request = read(ChatRequest, to_json(body))
        check_no_stream(request.stream)
        if request.store:
            raise NotSupported("must be false in a batch: its file has the answers", field="store")
        chat = request.chat()
        target, own = desk.target(request.model), request.forebay
        made = jobs(chat, target, own, desk.headers, desk.tenant, request.n or 1)
        return Translated(made, {**tools_told(chat)})

    def response(self, answers: Sequence[Answer], told: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a chat completion."""
        return completion(answers, "flex", told_tools(told))


class ResponseLines(OpenAILines):
    """The lines for `/v1/responses`."""

    endpoint = "/v1/responses"

    def translate(self, body: Any, desk: Desk) -> Translated:
        """Return the job of a line."""
        request = read(ResponsesRequest, to_json(body))
        check_no_stream(request.stream)
        if request.background:
            raise NotSupported("must be false in a batch", field="background")
        if request.previous_response_id is not None:
            words = "is not supported in a batch: send the whole conversation as `input`"
            raise NotSupported(words, field="previous_response_id")
        chat = request.chat()
        made = jobs(chat, desk.target(request.model), request.forebay, desk.headers, desk.tenant)
        return Translated(made, {"asked": _asked(request), **tools_told(chat)})

    def response(self, answers: Sequence[Answer], told: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a response object."""
        (answer,) = answers
        body = ResponsesRequest.model_validate(told["asked"])
        empty = responses_reply.empty(answer.id, body.model)
        whole = responses_reply.answered(empty, answer, told_tools(told))
        return {**with_asked(whole, body), "store": False}  # it is in the output alone


class EmbeddingLines(OpenAILines):
    """The lines for `/v1/embeddings`."""

    endpoint = "/v1/embeddings"

    def translate(self, body: Any, desk: Desk) -> Translated:
        """Return the job of a line."""
        request = read(EmbeddingRequest, to_json(body))
        job = embedding_job(request, desk.target(request.model, "embed"), desk.headers, desk.tenant)
        return Translated([job], {"encoding_format": request.encoding_format})

    def response(self, answers: Sequence[Answer], told: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a list of vectors."""
        return embedded(answers[0], told["encoding_format"])


class DecisionLines(OpenAILines):
    """The lines for `/v1/decisions`."""

    endpoint = "/v1/decisions"

    def translate(self, body: Any, desk: Desk) -> Translated:
        """Return the job of a line."""
        request = read(DecisionRequest, to_json(body))
        target = desk.target(request.model, "decide")
        job = decision_job(request, target, desk.headers, desk.tenant)
        return Translated([job], {"asked": _asked(request)})

    def response(self, answers: Sequence[Answer], told: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a decision."""
        return decision(DecisionRequest.model_validate(told["asked"]), answers[0])


FORMATS: tuple[OpenAILines, ...] = (
    ChatLines(), ResponseLines(), EmbeddingLines(), DecisionLines(),
)  # fmt: skip


def _asked(request: Body) -> dict[str, Any]:
    """Return what is kept of a request to make its response: all but its input."""
    asked = from_json(request.model_dump_json(by_alias=True, exclude_unset=True))
    return {**asked, "input": "-"}


def _line(line_id: str, custom_id: str, response: Any, error: Any) -> Any:
    return {
        "id": f"batch_req_{line_id}", "custom_id": custom_id, "response": response, "error": error,
    }  # fmt: skip


def _response(line_id: str, status: int, body: Any) -> Any:
    return {"status_code": status, "request_id": f"req_{line_id}", "body": body}
