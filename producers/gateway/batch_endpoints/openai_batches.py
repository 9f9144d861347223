"""`/v1/batches`: create, retrieve, list and cancel batches in OpenAI's format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.asking.token_usage import TokenUsage, token_usage
from forebay.producers.gateway.batch_endpoints.files import checked_seconds
from forebay.producers.gateway.batch_endpoints.making import (
    BatchOptions,
    checked_window,
    linked,
    page_of_batches,
)
from forebay.producers.gateway.batches.batch import Batch, BatchState, Terms
from forebay.producers.gateway.documents import documented
from forebay.producers.gateway.wire import Body, Metadata, respond
from forebay.producers.gateway.wire import read as read_body
from forebay.routing.errors import NotFound

MAX_LISTED = 100
_ID = re.compile(r"batch_([0-9a-f]{32})")

router = APIRouter(prefix="/v1/batches", tags=["Batches"])


class OutputExpiresAfter(Body):
    """How long the outputs of a batch are kept."""

    anchor: Literal["created_at"] = "created_at"
    seconds: int


class BatchRequest(Body):
    """The body of `POST /v1/batches`."""

    input_file_id: str = Field(max_length=100)
    endpoint: Literal["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/decisions"]
    completion_window: str = Field(min_length=2, max_length=20)
    metadata: Metadata | None = None
    output_expires_after: OutputExpiresAfter | None = None
    forebay: BatchOptions | None = None


class RequestCounts(TypedDict):
    """The requests of a batch by how they ended."""

    total: int
    completed: int
    failed: int


class BatchError(TypedDict):
    """Why the input of a batch is not valid."""

    code: str
    line: int | None
    message: str
    param: str | None


class BatchErrors(TypedDict):
    """Why the input of a batch is not valid: the first mistakes."""

    object: Literal["list"]
    data: list[BatchError]


class BatchObject(TypedDict):
    """A batch, as OpenAI's clients read it."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchState
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: TokenUsage | None
    metadata: Mapping[str, str] | None
    forebay: NotRequired[dict[str, Any]]


class BatchList(TypedDict):
    """A page of batches, the newest first."""

    object: Literal["list"]
    data: list[BatchObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


@router.post("", **documented(BatchRequest, BatchObject))
async def create_batch(request: Request) -> Response:
    """Answer all requests of a file within a window, as bulk: `24h`, or another span as `2h`."""
    by = await caller(request, "submit")
    body = read_body(BatchRequest, await request.body())
    await by.spend(0)
    own, after = body.forebay or BatchOptions(), body.output_expires_after
    field = "output_expires_after.seconds"
    terms = Terms(
        family="openai", endpoint=body.endpoint, input_file=body.input_file_id,
        window=body.completion_window, metadata=body.metadata or {},
        expires=checked_window(body.completion_window), egress=own.egress,
        max_usd=own.max_usd, max_cost_usd=own.max_cost_usd,
        keep_outputs_s=checked_seconds(after.seconds, field) if after else None,
    )  # fmt: skip
    batch = await by.gateway.on_thread(linked, by, terms, "input.jsonl")
    return respond(batch_object(batch), by.headers)


@router.get("", **documented(None, BatchList))
async def list_batches(
    request: Request, after: str = "", limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 20
) -> Response:
    """List the tenant's batches, page by page."""
    by = await caller(request, "read")
    page = await by.gateway.on_thread(
        page_of_batches, by, "openai", "batch_", after=after, limit=limit
    )
    return respond(page.listed([batch_object(batch) for batch in page.items]), {})


@router.get("/{batch_id}", **documented(None, BatchObject))
async def get_batch(request: Request, batch_id: str) -> Response:
    """Return a batch."""
    by = await caller(request, "read")
    return respond(batch_object(await _found(by, batch_id)), {})


@router.post("/{batch_id}/cancel", **documented(None, BatchObject))
async def cancel_batch(request: Request, batch_id: str) -> Response:
    """Cancel a batch. The answers so far are in its output once it is `cancelled`."""
    by = await caller(request, "submit")
    batch = await _found(by, batch_id)
    batch = await by.gateway.on_thread(by.gateway.batches.cancel, batch)
    return respond(batch_object(batch), {})


async def _found(by: Caller, given: str) -> Batch:
    match = _ID.fullmatch(given)
    if not match:
        raise NotFound("is not the id of a batch", field="batch_id")
    own_id = f"{by.tenant}.{match[1]}"
    return await by.gateway.on_thread(by.gateway.batches.get, own_id, "openai")


def batch_object(batch: Batch) -> BatchObject:
    """Return a batch as OpenAI's clients read it."""
    terms = batch.terms
    errors: Any = {"object": "list", "data": batch.errors} if batch.errors else None
    return {
        "id": f"batch_{batch.id.partition('.')[2]}", "object": "batch",
        "endpoint": terms.endpoint, "model": None, "errors": errors,
        "input_file_id": terms.input_file, "completion_window": terms.window,
        "status": batch.state, "output_file_id": batch.output_file or None,
        "error_file_id": batch.error_file or None, "created_at": int(batch.created),
        "in_progress_at": _time(batch.in_progress_at), "expires_at": _time(terms.expires),
        "finalizing_at": _time(batch.finalizing_at), "completed_at": _time(batch.completed_at),
        "failed_at": _time(batch.failed_at), "expired_at": _time(batch.expired_at),
        "cancelling_at": _time(batch.cancelling_at), "cancelled_at": _time(batch.cancelled_at),
        "request_counts": {
            "total": batch.total, "completed": batch.done_so_far, "failed": batch.failed_so_far,
        },
        "usage": token_usage(batch.tokens_in, batch.tokens_out) if batch.ended else None,
        "metadata": terms.metadata or None,
        "forebay": {"bulk_id": batch.id, "egress": terms.egress, "max_usd": terms.max_usd},
    }  # fmt: skip


def _time(at: float | None) -> int | None:
    return None if at is None else int(at)
