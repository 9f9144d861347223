"""`/v1/responses`: create, retrieve, cancel and delete responses."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.asking import RESULT_S, ask, estimate_in, submit
from forebay.producers.gateway.asking.chats import jobs, text_of
from forebay.producers.gateway.asking.model_names import asked_of
from forebay.producers.gateway.asking.streaming import EVENT_HEADERS, Telling
from forebay.producers.gateway.asking.tools import form_of
from forebay.producers.gateway.documents import EVENTS, documented
from forebay.producers.gateway.errors import InvalidRequest, NotSupported
from forebay.producers.gateway.files.paging import Page, page_of
from forebay.producers.gateway.openai.responses import reply
from forebay.producers.gateway.openai.responses.asked import (
    InputItem,
    input_items,
    with_asked,
)
from forebay.producers.gateway.openai.responses.conversation import conversation
from forebay.producers.gateway.openai.responses.replay import Replay
from forebay.producers.gateway.openai.responses.reply import ResponseObject
from forebay.producers.gateway.openai.responses.request import ResponsesRequest
from forebay.producers.gateway.openai.responses.store import keep, kept
from forebay.producers.gateway.openai.responses.stream import streamed
from forebay.producers.gateway.wire import read, respond
from forebay.routing.errors import ForebayError, NotFound, UnknownJob
from forebay.routing.jobs import Job, JobStatus

MAX_ITEMS_LISTED = 100
_NO_INPUT = "what this response was asked is not kept any more"

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
    data: list[InputItem]
    has_more: bool
    first_id: str | None
    last_id: str | None


EXAMPLE = {"model": "auto", "input": "What is a forebay?"}
CREATE = documented(ResponsesRequest, ResponseObject, media=EVENTS, example=EXAMPLE)
COUNT = documented(ResponsesRequest, CountedInput, example=EXAMPLE)


@router.post("/v1/responses", **CREATE)
async def create_response(request: Request) -> Response:
    """Answer an input. With `background`, return at once; `GET` the response for its answer.

    A `completion_window` of hours makes a background response a bulk job with that deadline.
    """
    begun, by = time.time(), await caller(request, "submit")
    body = read(ResponsesRequest, await request.body())
    body.check()
    wanted, before = await asked_of(by, body.model), await conversation(by, body)
    chat = body.chat(before.items)
    (job,) = jobs(chat, wanted, body.forebay, request.headers, by.tenant)
    before.check(job)
    if body.background:
        return await _in_background(by, body, job)
    if not body.kept and job.idempotency_key is not None:
        raise NotSupported("cannot be false with an idempotency key", field="store")
    if body.stream:
        return await _as_stream(Telling.of(by, job, chat.form), body)
    (answer,) = await ask(request, by, [job], own=body.kept)
    if body.kept:
        await keep(by, answer.id, body)
    elif answer.id == job.id:  # otherwise it is the answer of an earlier job
        by.gateway.later(by.gateway.client(by.tenant).forget(answer.id))
    empty = reply.empty(answer.id, body.model, created=begun)
    response = reply.answered(empty, answer, chat.form)
    return respond(with_asked(response, body), {**by.headers, **origin.headers([answer])})


@router.post("/v1/responses/input_tokens", **COUNT)
async def count_input_tokens(request: Request) -> Response:
    """Estimate the tokens of an input from its length; it is checked, and not answered."""
    by = await caller(request, "submit")
    body = read(ResponsesRequest, await request.body())
    wanted, before = await asked_of(by, body.model), await conversation(by, body)
    chat = body.chat(before.items)
    (job,) = jobs(chat, wanted, body.forebay, request.headers, by.tenant)
    tokens = max(1, estimate_in(job))
    return respond({"object": "response.input_tokens", "input_tokens": tokens}, by.headers)


@router.get("/v1/responses/{response_id}", **documented(None, ResponseObject, media=EVENTS))
async def get_response(
    request: Request,
    response_id: str,
    *,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """Return a response: its state, and its answer once it has one.

    With `stream`, return its events, those after the number `starting_after`.
    """
    by = await caller(request, "read")
    if starting_after is not None and not stream:
        raise InvalidRequest("needs stream", field="starting_after")
    job_id = reply.job_id_of(response_id, by.tenant)
    if not stream:
        return respond(await _current(by, job_id), {})
    after = -1 if starting_after is None else starting_after
    return await _replayed(by, job_id, await kept(by, job_id), after)


@router.get("/v1/responses/{response_id}/input_items", **documented(None, ItemList))
async def list_input_items(
    request: Request,
    response_id: str,
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=MAX_ITEMS_LISTED)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """List what a response was asked, the newest item first, page by page."""
    by = await caller(request, "read")
    job_id = reply.job_id_of(response_id, by.tenant)
    await _status(by, job_id)
    body = await kept(by, job_id)
    if body is None:
        raise NotFound(_NO_INPUT, field="response_id")
    items = input_items(job_id, body)
    if order == "desc":
        items.reverse()
    page: Page[InputItem] = page_of(items, [item["id"] for item in items], after, limit)
    return respond(page.listed(list(page.items)), {})


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
        raise NotFound("there is no such response", field="response_id")
    return respond({"id": response_id, "object": "response", "deleted": True}, {})


async def _as_stream(telling: Telling, body: ResponsesRequest) -> Response:
    telling.kept = body.kept
    await telling.begin()
    begun = reply.empty(telling.job_id, body.model, "in_progress")
    if body.kept:
        by = telling.caller
        by.gateway.later(keep(by, telling.job_id, body))
    return streamed(telling, with_asked(begun, body))


async def _in_background(by: Caller, body: ResponsesRequest, job: Job) -> Response:
    streams = bool(body.stream and not body.usable_tools())
    job = _within(job, body).model_copy(update={"stream": streams})
    job_id = await submit(by, job)
    await keep(by, job_id, body)
    if body.stream:
        return await _replayed(by, job_id, body)
    if job_id != job.id:  # the first job under the idempotency key, which may have ended
        return respond(await _current(by, job_id), {**by.headers, "forebay-job-id": job_id})
    response = with_asked(reply.empty(job_id, body.model), body)
    return respond(response, {**by.headers, "forebay-job-id": job_id})


async def _replayed(
    by: Caller, job_id: str, body: ResponsesRequest | None, after: int = -1
) -> Response:
    """Return the events of a response, which its listener may leave and take up again."""
    status = await _status(by, job_id)
    base = with_asked(reply.waiting(status, body.model if body else "auto"), body)
    base["status"] = "in_progress"
    replay = Replay(by, job_id, base, body.form_of_answer() if body else None, after)
    headers = {**by.headers, **EVENT_HEADERS, "forebay-job-id": job_id}
    return StreamingResponse(replay.sent(), headers=headers, media_type=EVENTS[0])


def _within(job: Job, body: ResponsesRequest) -> Job:
    """Return the job with the deadline of its completion window, if it has no other."""
    if body.window is None or job.deadline is not None:
        return job
    return Job.model_validate({**dict(job), "deadline": body.window})


async def _current(by: Caller, job_id: str) -> ResponseObject:
    """Return the response of a job as it is now."""
    status, body = await _status(by, job_id), await kept(by, job_id)
    model = body.model if body else "auto"
    response = with_asked(reply.waiting(status, model), body)
    if status.receipt is None:
        return response
    try:
        answer = await by.gateway.client(by.tenant).result(job_id, timeout=RESULT_S)
        tools = body.form_of_answer() if body else form_of(text_of(answer.content))
        return reply.answered(response, answer, tools)
    except ForebayError as error:
        if error.receipt is None:
            raise
        return reply.failed(response, error)


async def _status(by: Caller, job_id: str) -> JobStatus:
    """Return where the job of a response is. Raises `NotFound`."""
    try:
        return await by.gateway.client(by.tenant).status(job_id)
    except UnknownJob:
        raise NotFound("there is no such response", field="response_id") from None
