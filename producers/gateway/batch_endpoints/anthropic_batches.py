"""`/v1/messages/batches`: batches in Anthropic's format."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.batch_endpoints.anthropic_lines import MAX_REQUESTS, MessageLines
from forebay.producers.gateway.batch_endpoints.files import check_range
from forebay.producers.gateway.batch_endpoints.making import (
    WINDOW,
    BatchOptions,
    begun,
    checked_window,
    page_of_batches,
)
from forebay.producers.gateway.batch_work.validation import INPUT
from forebay.producers.gateway.batches.batch import Batch, Terms
from forebay.producers.gateway.documents import documented
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.wire import Body, read, respond
from forebay.routing.errors import NotFound

MAX_LISTED = 1_000
JSONL = "application/x-jsonl"
_ID = re.compile(r"msgbatch_([0-9a-f]{32})")

router = APIRouter(prefix="/v1/messages/batches", tags=["Batches"])


class BatchedMessage(Body):
    """One request of a batch. Its `params` are the body of `POST /v1/messages`."""

    custom_id: str = Field(min_length=1, max_length=64)
    params: dict[str, Any]


class MessageBatchRequest(Body):
    """The body of `POST /v1/messages/batches`."""

    requests: list[BatchedMessage] = Field(min_length=1, max_length=MAX_REQUESTS)
    forebay: BatchOptions | None = None


class MessageBatchCounts(TypedDict):
    """The requests of a batch by how they ended; all are `processing` until the batch has ended."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatchObject(TypedDict):
    """A batch, as Anthropic's clients read it."""

    id: str
    type: Literal["message_batch"]
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: MessageBatchCounts
    created_at: str
    expires_at: str
    ended_at: str | None
    cancel_initiated_at: str | None
    archived_at: None
    results_url: str | None


class MessageBatchList(TypedDict):
    """A page of batches, the newest first."""

    data: list[MessageBatchObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedMessageBatch(TypedDict):
    """That a batch is no more."""

    id: str
    type: Literal["message_batch_deleted"]


def _documented(body: Any, response: Any, **options: Any) -> dict[str, Any]:
    return documented(body, response, error="AnthropicError", **options)


@router.post("", **_documented(MessageBatchRequest, MessageBatchObject))
async def create_message_batch(request: Request) -> Response:
    """Answer many requests within 24 hours, as bulk. Each is validated when the batch is worked."""
    by = await caller(request, "submit")
    await by.spend(0)
    raw = await request.body()
    batch = await by.gateway.on_thread(_made, by, raw)
    return respond(_shown(batch), by.headers)


@router.get("", **_documented(None, MessageBatchList))
async def list_message_batches(
    request: Request,
    after_id: str = "",
    before_id: str = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 20,
) -> Response:
    """List the tenant's batches, page by page."""
    by = await caller(request, "read")
    page = await by.gateway.on_thread(
        page_of_batches, by, "anthropic", "msgbatch_", after=after_id, limit=limit,
        before=before_id,
    )  # fmt: skip
    return respond(page.bare([_shown(batch) for batch in page.items]), {})


@router.get("/{batch_id}", **_documented(None, MessageBatchObject))
async def get_message_batch(request: Request, batch_id: str) -> Response:
    """Return a batch."""
    by = await caller(request, "read")
    return respond(_shown(await _found(by, batch_id)), {})


@router.get("/{batch_id}/results", **_documented(None, None, media=[JSONL]))
async def get_message_batch_results(request: Request, batch_id: str) -> Response:
    """Return the results of a batch that has ended, one JSON object a line."""
    by = await caller(request, "read")
    batch = await _found(by, batch_id)
    if not batch.output_file:
        raise InvalidRequest(
            "has no results: it has not ended, or has no requests", field="batch_id"
        )
    path = await by.gateway.on_thread(by.gateway.files.content, by.tenant, batch.output_file)
    check_range(request, path.stat().st_size)
    return FileResponse(path, media_type=JSONL)


@router.post("/{batch_id}/cancel", **_documented(None, MessageBatchObject))
async def cancel_message_batch(request: Request, batch_id: str) -> Response:
    """Cancel a batch. Its results are there once it has ended."""
    by = await caller(request, "submit")
    batch = await _found(by, batch_id)
    batch = await by.gateway.on_thread(by.gateway.batches.cancel, batch)
    return respond(_shown(batch), {})


@router.delete("/{batch_id}", **_documented(None, DeletedMessageBatch))
async def delete_message_batch(request: Request, batch_id: str) -> Response:
    """Delete a batch that has ended, and its results."""
    by = await caller(request, "admin")
    batch = await _found(by, batch_id)
    if not batch.ended:
        raise InvalidRequest("has not ended: cancel it first", field="batch_id")
    await by.gateway.on_thread(_delete, by, batch)
    return respond({"id": batch_id, "type": "message_batch_deleted"}, {})


def _made(by: Caller, raw: bytes) -> Batch:
    """Write the requests of a body as the input of a batch, and make the batch."""
    body, gateway = read(MessageBatchRequest, raw), by.gateway
    _check_ids(body)
    own = body.forebay or BatchOptions()
    endpoint = MessageLines.endpoint
    terms = Terms(
        family="anthropic", endpoint=endpoint, window=WINDOW, expires=checked_window(WINDOW),
        egress=own.egress, max_usd=own.max_usd, max_cost_usd=own.max_cost_usd,
    )  # fmt: skip
    with begun(by) as (batch_id, folder):
        room = closing(gateway.files.reserve(by.tenant, len(raw)))
        with room, (folder / INPUT).open("wb") as file:
            for one in body.requests:
                line = {"custom_id": one.custom_id, "url": endpoint, "body": one.params}
                file.write(to_json(line) + b"\n")
        return gateway.batches.create(batch_id, gateway.files.id, terms)


def _check_ids(body: MessageBatchRequest) -> None:
    seen: dict[str, int] = {}
    for number, one in enumerate(body.requests):
        first = seen.setdefault(one.custom_id, number)
        if first != number:
            words = f"repeats the custom_id of request {first}"
            raise InvalidRequest(words, field=f"requests.{number}.custom_id")


def _delete(by: Caller, batch: Batch) -> None:
    if batch.output_file:
        by.gateway.files.delete(by.tenant, batch.output_file)
    by.gateway.batches.delete(batch)


async def _found(by: Caller, given: str) -> Batch:
    match = _ID.fullmatch(given)
    if not match:
        raise NotFound("is not the id of a batch", field="batch_id")
    own_id = f"{by.tenant}.{match[1]}"
    return await by.gateway.on_thread(by.gateway.batches.get, own_id, "anthropic")


def _shown(batch: Batch) -> MessageBatchObject:
    """Return a batch as Anthropic's clients read it.

    The URL of its results names no host: behind a proxy, that is another one than is known here,
    and clients send their key to it. They take the path from their own address of the gateway.
    """
    batch_id = f"msgbatch_{batch.id.partition('.')[2]}"
    ended = batch.failed_at or batch.cancelled_at or batch.expired_at or batch.completed_at
    url = f"{router.prefix}/{batch_id}/results"
    going = "canceling" if batch.cancelling_at else "in_progress"
    return {
        "id": batch_id, "type": "message_batch",
        "processing_status": "ended" if batch.ended else going,  # type: ignore[typeddict-item]  # one of three
        "request_counts": {
            "processing": 0 if batch.ended else batch.total,
            "succeeded": batch.completed, "errored": batch.failed,
            "canceled": batch.cancelled, "expired": batch.expired,
        },
        "created_at": _time(batch.created) or "",
        "expires_at": _time(batch.terms.expires or batch.created) or "",
        "ended_at": _time(ended), "cancel_initiated_at": _time(batch.cancelling_at),
        "archived_at": None, "results_url": url if batch.output_file else None,
    }  # fmt: skip


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
