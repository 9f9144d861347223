"""`/v1/chat/completions`: list, retrieve, change and delete the completions that are stored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.documents import documented
from forebay.producers.gateway.files.paging import Page, page_of
from forebay.producers.gateway.openai.completions import stored
from forebay.producers.gateway.openai.completions.listing import Wanted, page
from forebay.producers.gateway.openai.completions.reply import (
    StoredCompletion,
    StoredMessage,
    stored_completion,
    stored_messages,
)
from forebay.producers.gateway.openai.completions.stored import StoredChat
from forebay.producers.gateway.wire import Body, Metadata, read, respond
from forebay.routing.errors import NotFound

MAX_LISTED = 100
Limit = Annotated[int, Query(ge=1, le=MAX_LISTED)]
Order = Literal["asc", "desc"]

router = APIRouter(tags=["OpenAI"])


class CompletionUpdate(Body):
    """The body of `POST /v1/chat/completions/ID`: the metadata in place of the present ones."""

    metadata: Metadata | None


class CompletionPage(TypedDict):
    """A page of stored completions."""

    object: Literal["list"]
    data: list[StoredCompletion]
    has_more: bool
    first_id: str | None
    last_id: str | None


class MessagePage(TypedDict):
    """A page of the messages that a stored completion was asked."""

    object: Literal["list"]
    data: list[StoredMessage]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedCompletion(TypedDict):
    """That a stored completion is no more."""

    id: str
    object: Literal["chat.completion.deleted"]
    deleted: Literal[True]


def _documented_list() -> dict[str, Any]:
    entries = {"type": "object", "additionalProperties": {"type": "string"}}
    metadata = {
        "name": "metadata", "in": "query", "style": "deepObject", "explode": True,
        "required": False, "schema": entries,
        "description": "Entries that the completions have: `metadata[KEY]=VALUE`.",
    }  # fmt: skip
    route = documented(None, CompletionPage)
    route["openapi_extra"]["parameters"] = [metadata]
    return route


@router.get("/v1/chat/completions", **_documented_list())
async def list_chat_completions(
    request: Request, after: str = "", limit: Limit = 20, order: Order = "asc", model: str = ""
) -> Response:
    """List the stored completions, those of a model or with some metadata, page by page."""
    by = await caller(request, "read")
    wanted = Wanted.of(model, request.query_params)
    found, more = await by.gateway.on_thread(
        page, by, wanted, after, limit, newest_first=order == "desc"
    )
    shown = [stored_completion(chat, answers) for chat, answers in found]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return respond(Page(shown, more, first, last).listed([*shown]), {})


@router.get("/v1/chat/completions/{completion_id}", **documented(None, StoredCompletion))
async def get_chat_completion(request: Request, completion_id: str) -> Response:
    """Return a stored completion."""
    by = await caller(request, "read")
    return respond(await by.gateway.on_thread(_shown, by, completion_id), {})


@router.get("/v1/chat/completions/{completion_id}/messages", **documented(None, MessagePage))
async def list_chat_completion_messages(
    request: Request, completion_id: str, after: str = "", limit: Limit = 20, order: Order = "asc"
) -> Response:
    """List the messages that a stored completion was asked, page by page."""
    by = await caller(request, "read")
    chat = await by.gateway.on_thread(stored.find, by, completion_id)
    messages = stored_messages(chat)
    if order == "desc":
        messages.reverse()
    ids = [message["id"] for message in messages]
    found: Page[StoredMessage] = page_of(messages, ids, after, limit)
    return respond(found.listed([*found.items]), {})


@router.post(
    "/v1/chat/completions/{completion_id}", **documented(CompletionUpdate, StoredCompletion)
)
async def update_chat_completion(request: Request, completion_id: str) -> Response:
    """Replace the metadata of a stored completion."""
    by = await caller(request, "submit")
    body = read(CompletionUpdate, await request.body())

    def change() -> StoredCompletion:
        chat, answers = _with_answers(by, completion_id)
        changed = chat.with_metadata(body.metadata or {})
        stored.change(by, changed)
        return stored_completion(changed, answers)

    return respond(await by.gateway.on_thread(change), {})


@router.delete("/v1/chat/completions/{completion_id}", **documented(None, DeletedCompletion))
async def delete_chat_completion(request: Request, completion_id: str) -> Response:
    """Erase a stored completion, its jobs, and all that is stored of both."""
    by = await caller(request, "admin")
    chat = await by.gateway.on_thread(stored.find, by, completion_id)
    for job_id in reversed(chat.job_ids):  # the first one leads to the others
        await by.gateway.client(by.tenant).forget(job_id)
    listed = stored.completions(by.gateway)
    await by.gateway.on_thread(listed.remove, by.tenant, chat.job_ids[:1])
    deleted = {"id": completion_id, "object": "chat.completion.deleted", "deleted": True}
    return respond(deleted, {})


def _shown(by: Caller, completion_id: str) -> StoredCompletion:
    return stored_completion(*_with_answers(by, completion_id))


def _with_answers(by: Caller, completion_id: str) -> tuple[StoredChat, Any]:
    """Return a stored completion and its answers. Raises `NotFound`."""
    chat = stored.find(by, completion_id)
    (answers,) = stored.answers_to(by, [chat])
    if answers is None:
        raise NotFound("has no answer that is stored", field="completion_id")
    return chat, answers
