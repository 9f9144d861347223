"""`/bulks`: start a bulk from an uploaded file, see how far it is, steer it, read its results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field, RootModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from forebay.producers.bulk.handle import progress_of
from forebay.producers.bulk.running.progress import Progress
from forebay.producers.bulk.templates.template import Template
from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.batch_endpoints.making import checked_window, linked
from forebay.producers.gateway.batch_work.outputs import RESULTS
from forebay.producers.gateway.batches.batch import Batch, Terms
from forebay.producers.gateway.documents import documented_natively
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.wire import Body, read, respond
from forebay.routing.base import Egress, Kind
from forebay.routing.bulk.bulks import ENDED, Bulks, BulkState, jobs_ahead
from forebay.routing.errors import NotFound, UnknownJob
from forebay.routing.jobs import owner

CHUNK_BYTES = 256 * 1024
POLL_S = 1.0  # between looks for more results, and at the state of a bulk
JSONL = "application/jsonl"
MAX_LISTED = 1_000

router = APIRouter(prefix="/bulks", tags=["Bulks"])


class BulkRequest(Body):
    """The body of `POST /bulks`: a file, and how its rows become requests.

    The fields have the meaning of the options of `forebay bulk run`. Without a `kind`, each row is
    a request or a job.
    """

    input_file_id: str = Field(max_length=100)
    format: Literal["jsonl", "csv", "tsv"] = "jsonl"
    order: Literal["input", "any"] = "input"
    window: str | None = Field(default=None, max_length=20)
    max_usd: float | None = Field(default=None, ge=0, le=1_000_000, allow_inf_nan=False)
    max_cost_usd: float | None = Field(default=None, ge=0, le=1_000_000, allow_inf_nan=False)
    kind: Kind | None = None
    text_field: str | None = None
    text: str | None = None
    system: str | None = None
    user: str | None = None
    key: str | None = None
    egress: Egress = "deny"
    egress_column: str | None = None
    labels: list[Any] | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    max_words: int | None = None
    focus: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] | None = None
    seed: int | None = None
    regex: str | None = None

    def options(self) -> dict[str, Any]:
        """Return how rows become requests; see `RowOptions`."""
        own = {"input_file_id", "format", "order", "window", "max_usd", "max_cost_usd"}
        return self.model_dump(exclude=own, exclude_none=True, by_alias=True)


class BulkStarted(TypedDict):
    """The id of a bulk that a gateway answers now."""

    id: str


class BulkProgress(RootModel[dict[str, Any]]):
    """How far a bulk is, as `forebay bulk status --json` prints it."""


class BulkList(TypedDict):
    """The bulks of the tenant, the newest first."""

    bulks: list[dict[str, Any]]


@router.post("", **documented_natively(BulkRequest, BulkStarted, status=202))
async def start_bulk(request: Request) -> Response:
    """Answer the rows of a file that was uploaded to `/v1/files`."""
    by = await caller(request, "submit")
    body = read(BulkRequest, await request.body())
    await by.spend(0)
    options = body.options()
    Template.of(**{**options, "tenant": by.tenant})  # a mistake is an error here
    terms = Terms(
        family="bulk", input_file=body.input_file_id, window=body.window or "",
        expires=checked_window(body.window, "window") if body.window else None,
        max_usd=body.max_usd, max_cost_usd=body.max_cost_usd, egress=body.egress,
        options={**options, "order": body.order, "source_format": body.format},
    )  # fmt: skip
    batch = await by.gateway.on_thread(linked, by, terms, "input")
    return respond({"id": batch.id}, {**by.headers, "location": f"/bulks/{batch.id}"}, 202)


@router.get("", **documented_natively(None, BulkList))
async def list_bulks(
    request: Request, limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100
) -> Response:
    """List the bulks that the tenant started by a gateway, the newest first."""
    by = await caller(request, "read")

    def found() -> list[dict[str, Any]]:
        store = by.gateway.batches
        batches = map(store.find, store.ids(by.tenant, "bulk")[:limit])
        return [_shown(by, batch) for batch in batches if batch]

    return respond({"bulks": await by.gateway.on_thread(found)}, {})


@router.get("/{bulk_id}", **documented_natively(None, BulkProgress))
async def get_bulk(request: Request, bulk_id: str) -> Response:
    """Return how far a bulk is."""
    by = await caller(request, "read")
    batch = await _found(by, bulk_id)
    return respond(await by.gateway.on_thread(_shown, by, batch), {})


@router.post("/{bulk_id}/pause", **documented_natively(None, BulkProgress))
async def pause_bulk(request: Request, bulk_id: str) -> Response:
    """Put a bulk aside."""
    return await _steered(request, bulk_id, "paused")


@router.post("/{bulk_id}/resume", **documented_natively(None, BulkProgress))
async def resume_bulk(request: Request, bulk_id: str) -> Response:
    """Go on with a bulk that was paused."""
    return await _steered(request, bulk_id, "running")


@router.post("/{bulk_id}/cancel", **documented_natively(None, BulkProgress))
async def cancel_bulk(request: Request, bulk_id: str) -> Response:
    """End a bulk. The results so far stay."""
    return await _steered(request, bulk_id, "cancelled")


@router.post("/{bulk_id}/retry", **documented_natively(None, BulkStarted, status=202))
async def retry_bulk(request: Request, bulk_id: str) -> Response:
    """Answer the rows of a bulk again that have no answer, as a bulk of its own.

    At its end the new results are in their places among those of the first bulk.
    """
    by = await caller(request, "submit")
    await by.spend(0)
    first = await _found(by, bulk_id)

    def started() -> Batch:
        gateway = by.gateway
        if not first.ended:
            raise InvalidRequest("has not ended", field="bulk_id")
        terms = Terms(family="bulk", retries=first.id, egress=first.terms.egress)
        return gateway.batches.create(gateway.batches.new_id(by.tenant), first.store, terms)

    batch = await by.gateway.on_thread(started)
    return respond({"id": batch.id}, {"location": f"/bulks/{batch.id}"}, 202)


@router.get("/{bulk_id}/results", **documented_natively(None, None, media=[JSONL]))
async def get_bulk_results(request: Request, bulk_id: str, *, follow: bool = False) -> Response:
    """Stream the results that are there; with `follow`, all, as they come, until the bulk ends."""
    by = await caller(request, "read")
    batch = await _found(by, bulk_id)
    path = await by.gateway.on_thread(_results, by, batch, RESULTS)
    return StreamingResponse(_lines(by, batch.id, path, follow=follow), media_type=JSONL)


@router.get("/{bulk_id}/bad_rows", **documented_natively(None, None, media=[JSONL]))
async def get_bulk_bad_rows(request: Request, bulk_id: str) -> Response:
    """Stream the rows that could not be read as requests, each with its reason."""
    by = await caller(request, "read")
    batch = await _found(by, bulk_id)
    path = await by.gateway.on_thread(_results, by, batch, f"{Path(RESULTS).stem}.bad.jsonl")
    return StreamingResponse(_lines(by, batch.id, path, follow=False), media_type=JSONL)


async def _found(by: Caller, bulk_id: str) -> Batch:
    if owner(bulk_id) != by.tenant:
        raise NotFound("no such bulk of this tenant", field="bulk_id")
    return await by.gateway.on_thread(by.gateway.batches.get, bulk_id, "bulk")


async def _steered(request: Request, bulk_id: str, state: BulkState) -> Response:
    by = await caller(request, "submit")
    batch = await _found(by, bulk_id)

    def steer() -> dict[str, Any]:
        bulks = Bulks(by.gateway.ledger)
        if not bulks.state(batch.id):  # no gateway has begun with it
            bulks.create(batch.id, {}, None)
        bulks.set_state(batch.id, state)
        return _shown(by, batch)

    return respond(await by.gateway.on_thread(steer), {})


def _shown(by: Caller, batch: Batch) -> dict[str, Any]:
    """Return how far a bulk is; one that no gateway has begun with is `waiting`."""
    ledger = by.gateway.ledger
    try:
        record = Bulks(ledger).get(batch.id)
    except UnknownJob:
        progress = Progress(id=batch.id, state="failed" if batch.failed_at else "waiting")
    else:
        progress = progress_of(record, None, jobs_ahead(ledger))
    problem = batch.errors[0] if batch.errors else None
    return {
        **asdict(progress), "source": batch.terms.input_file, "out": f"/bulks/{batch.id}/results",
        "problem": problem, "retries": batch.terms.retries or None,
    }  # fmt: skip


def _results(by: Caller, batch: Batch, name: str) -> Path:
    """Return a file of a bulk, which may not be there yet.

    Raises:
        NotFound: The gateway that has the files is another one.
    """
    if batch.store != by.gateway.files.id:
        raise NotFound("its results are at another gateway", field="bulk_id")
    folder = by.gateway.files.batch_folder(batch.terms.retries or batch.id)
    return folder / name


async def _lines(by: Caller, bulk_id: str, path: Path, *, follow: bool) -> AsyncIterator[bytes]:
    """Yield the whole lines of a file; with `follow`, until the bulk has ended."""
    offset = 0
    while True:
        over = not follow or await by.gateway.on_thread(_is_over, by, bulk_id)
        while chunk := await by.gateway.on_thread(_whole_lines, path, offset):
            offset += len(chunk)
            yield chunk
        if over:
            return
        await asyncio.sleep(POLL_S)


def _is_over(by: Caller, bulk_id: str) -> bool:
    batch = by.gateway.batches.find(bulk_id)
    return batch is None or batch.ended or Bulks(by.gateway.ledger).state(bulk_id) in ENDED


def _whole_lines(path: Path, offset: int) -> bytes:
    """Return the next lines of a file up to about `CHUNK_BYTES`, without one that is not whole."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(CHUNK_BYTES)
            while chunk and b"\n" not in chunk and (more := file.read(CHUNK_BYTES)):
                chunk += more
    except FileNotFoundError:
        return b""
    return chunk[: chunk.rfind(b"\n") + 1]
