"""`/v1/responses`: create, retrieve, cancel and delete responses."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.asking import ask, estimate_in, submit
from forebay.producers.gateway.asking.chats import jobs, text_of
from forebay.producers.gateway.asking.model_names import asked_of
from forebay.producers.gateway.asking.streaming import Telling
from forebay.producers.gateway.asking.tools import form_of
from forebay.producers.gateway.documents import EVENTS, documented
from forebay.producers.gateway.errors import NotSupported
from forebay.producers.gateway.openai import responses_reply as reply
from forebay.producers.gateway.openai.responses_items import NamedFunction
from forebay.producers.gateway.openai.responses_reply import ResponseObject
from forebay.producers.gateway.openai.responses_request import ResponsesRequest
from forebay.producers.gateway.openai.responses_stream import streamed
from forebay.producers.gateway.wire import read, respond
from forebay.routing.errors import ForebayError, UnknownJob
from forebay.routing.jobs import Job

RESULT_S = 30.0  # how long reading the answer of an ended job may take
_NO_REPLAY = "get the response without it until its status is completed; only its creation streams"
_NO_INPUT = "what a response was asked is erased as soon as it is answered; keep it with the caller"

router = APIRouter(tags=["OpenAI"])


class DeletedResponse(TypedDict):
    """That a response is no more."""

    id: str
    object: Literal["response"]
    deleted: bool


class CountedInput(TypedDict):
    """About how many tokens an input has."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class ItemList(TypedDict):
    """A page of the items of a response's input."""

    object: Literal["list"]
    data: list[Any]
    has_more: bool


@router.post("/v1/responses", **documented(ResponsesRequest, ResponseObject, media=EVENTS))
async def create_response(request: Request) -> Response:
    """Answer an input. With `background`, return at once; `GET` the response for its answer.

    A `completion_window` of hours makes a background response a bulk job with that deadline.
    """
    by = await caller(request, "submit")
    body = read(ResponsesRequest, await request.body())
    body.check()
    wanted = await asked_of(by, body.model)
    chat = body.chat()
    (job,) = jobs(chat, wanted, body.forebay, request.headers, by.tenant)
    if body.background:
        return await _in_background(by, body, job)
    if not body.kept and job.idempotency_key is not None:
        raise NotSupported("cannot be false with an idempotency key", field="store")
    if body.stream:
        return await _as_stream(Telling.of(by, job, chat.tools), body)
    (answer,) = await ask(request, by, [job])
    if not body.kept:
        by.gateway.later(by.gateway.client(by.tenant).forget(answer.id))
    response = reply.answered(reply.empty(answer.id, body.model), answer, chat.tools)
    return respond(_with_input(response, body), {**by.headers, **origin.headers([answer])})


@router.post("/v1/responses/input_tokens", **documented(ResponsesRequest, CountedInput))
async def count_input_tokens(request: Request) -> Response:
    """Estimate the tokens of an input from its length; it is checked, and not answered."""
    by = await caller(request, "submit")
    body = read(ResponsesRequest, await request.body())
    wanted = await asked_of(by, body.model)
    (job,) = jobs(body.chat(), wanted, body.forebay, request.headers, by.tenant)
    tokens = max(1, estimate_in(job))
    return respond({"object": "response.input_tokens", "input_tokens": tokens}, by.headers)


@router.get("/v1/responses/{response_id}", **documented(None, ResponseObject))
async def get_response(
    request: Request, response_id: str, *, stream: bool = False, starting_after: int | None = None
) -> Response:
    """Return a response: its state, and its answer once it has one. It is not streamed again."""
    by = await caller(request, "read")
    if stream or starting_after is not None:
        field = "stream" if stream else "starting_after"
        raise NotSupported(f"is not supported: {_NO_REPLAY}", field=field)
    return respond(await _current(by, reply.job_id_of(response_id, by.tenant)), {})


@router.get("/v1/responses/{response_id}/input_items", **documented(None, ItemList))
async def list_input_items(request: Request, response_id: str) -> Response:
    """Refuse: the input of a response is erased as soon as it is answered."""
    by = await caller(request, "read")
    await _current(by, reply.job_id_of(response_id, by.tenant))
    raise NotSupported(f"is not supported: {_NO_INPUT}", field="input_items")


@router.post("/v1/responses/{response_id}/cancel", **documented(None, ResponseObject))
async def cancel_response(request: Request, response_id: str) -> Response:
    """Cancel a response that has not ended yet."""
    by = await caller(request, "submit")
    job_id = reply.job_id_of(response_id, by.tenant)
    await _current(by, job_id)
    await by.gateway.client(by.tenant).cancel(job_id)
    return respond(await _current(by, job_id), {})


@router.delete("/v1/responses/{response_id}", **documented(None, DeletedResponse))
async def delete_response(request: Request, response_id: str) -> Response:
    """Erase a response, its job, and all that is stored of both."""
    by = await caller(request, "admin")
    job_id = reply.job_id_of(response_id, by.tenant)
    if not await by.gateway.client(by.tenant).forget(job_id):
        raise UnknownJob("there is no such response", field="response_id")
    return respond({"id": response_id, "object": "response", "deleted": True}, {})


async def _as_stream(telling: Telling, body: ResponsesRequest) -> Response:
    telling.kept = body.kept
    await telling.begin()
    begun = reply.empty(telling.job_id, body.model, "in_progress")
    return streamed(telling, _with_input(begun, body))


async def _in_background(by: Caller, body: ResponsesRequest, job: Job) -> Response:
    job_id = await submit(by, _within(job, body))
    response = _with_input(reply.empty(job_id, body.model), body)
    return respond(response, {**by.headers, "forebay-job-id": job_id})


def _within(job: Job, body: ResponsesRequest) -> Job:
    """Return the job with the deadline of its completion window, if it has no other."""
    if body.window is None or job.deadline is not None:
        return job
    return Job.model_validate({**dict(job), "deadline": body.window})


def _with_input(response: ResponseObject, body: ResponsesRequest) -> ResponseObject:
    """Return the response with what the caller said of it."""
    return {
        **response, "background": bool(body.background), "instructions": body.instructions,
        "metadata": body.metadata or {}, "tool_choice": _choice(body),
        "tools": [tool.model_dump() for tool in body.tools or ()],
        "parallel_tool_calls": body.parallel_tool_calls is not False and bool(body.tools),
        "temperature": body.temperature, "top_p": body.top_p,
        "max_output_tokens": body.max_output_tokens, "store": body.kept,
        "text": {"format": body.form.model_dump(by_alias=True, exclude_none=True)},
        "truncation": "disabled", "previous_response_id": None,
        "service_tier": "flex" if body.service_tier == "flex" else "default",
    }  # fmt: skip


def _choice(body: ResponsesRequest) -> str | dict[str, str]:
    """Return which tools the model was to call."""
    if isinstance(body.tool_choice, NamedFunction):
        return body.tool_choice.model_dump()
    return body.tool_choice or ("auto" if body.tools else "none")


async def _current(by: Caller, job_id: str) -> ResponseObject:
    """Return the response of a job as it is now."""
    client = by.gateway.client(by.tenant)
    try:
        status = await client.status(job_id)
    except UnknownJob:
        raise UnknownJob("there is no such response", field="response_id") from None
    response = reply.waiting(status, status.receipt.model or "auto" if status.receipt else "auto")
    if status.receipt is None:
        return response
    try:
        answer = await client.result(job_id, timeout=RESULT_S)
        return reply.answered(response, answer, form_of(text_of(answer.content)))
    except ForebayError as error:
        if error.receipt is None:
            raise
        return reply.failed(response, error)
