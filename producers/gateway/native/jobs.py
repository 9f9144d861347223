"""`/jobs`: submit, watch, explain, cancel and forget jobs of every kind."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, RootModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.asking.asking import disconnected, submit
from forebay.producers.gateway.asking.streaming import EVENT_HEADERS
from forebay.producers.gateway.documents import EVENTS, documented_natively
from forebay.producers.gateway.errors import InvalidRequest, Refusal
from forebay.producers.gateway.native.job_events import events
from forebay.producers.gateway.native.job_view import (
    JobError,
    JobView,
    error_of,
    job_of,
    view,
)
from forebay.producers.gateway.wire import Body, fields_of, respond
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Job

MAX_JOBS = 1_000  # of one request
AT_ONCE = 32  # submits of one request that are under way together
MAX_WAIT_S = 300

router = APIRouter(prefix="/jobs", tags=["Jobs"])
Wait = Annotated[
    float,
    Query(ge=0, le=MAX_WAIT_S, allow_inf_nan=False, description="Seconds to wait for the end."),
]


class Submitted(TypedDict):
    """The id of a job that was stored and will not be lost."""

    id: str


class SubmittedOrNot(TypedDict):
    """The id of a job, or why it was refused."""

    id: str | None
    error: JobError | None


class AllSubmitted(TypedDict):
    """What became of each job, in their order."""

    jobs: list[SubmittedOrNot]


class Jobs(Body):
    """Jobs, each a whole job or a request alone."""

    jobs: list[Any] = Field(min_length=1, max_length=MAX_JOBS)


class Explanation(RootModel[dict[str, Any]]):
    """Why a job took its lane, as `forebay explain --json` prints it."""


class Cancelled(TypedDict):
    """Whether a job was cancelled; false if it had ended already."""

    id: str
    cancelled: bool


class Forgotten(TypedDict):
    """Whether anything was stored of a job."""

    id: str
    forgotten: bool


SUBMIT = documented_natively(
    Job, Submitted, status=202,
    example={"request": {"kind": "summarize", "text": "A forebay is the pool above a turbine."}},
)  # fmt: skip


@router.post("", **SUBMIT)
async def submit_job(request: Request) -> Response:
    """Submit a job. The body is a whole job, or a request alone: `{"kind": "summarize", ...}`.

    When this returns, the job is stored and will not be lost.
    """
    by = await caller(request, "submit")
    job = job_of(fields_of(await request.body()), by.tenant, request.headers)
    job_id = await submit(by, job)
    headers = {**by.headers, "location": f"/jobs/{job_id}"}
    return respond({"id": job_id}, headers, 202)


@router.post("/many", **documented_natively(Jobs, AllSubmitted, status=202))
async def submit_jobs(request: Request) -> Response:
    """Submit many jobs. One that is refused stops no other."""
    by = await caller(request, "submit")
    fields = fields_of(await request.body())
    many = fields.get("jobs") if isinstance(fields, dict) else None
    if not isinstance(many, list) or not 0 < len(many) <= MAX_JOBS:
        raise InvalidRequest(f"must be a list of 1 to {MAX_JOBS} jobs", field="jobs")
    turns = asyncio.Semaphore(AT_ONCE)
    done = await asyncio.gather(*(_submitted(by, one, request, turns) for one in many))
    return respond({"jobs": done}, by.headers, 202)


@router.get("/{job_id}", **documented_natively(None, JobView))
async def get_job(request: Request, job_id: str, wait: Wait = 0) -> Response:
    """Return where a job is, and its answer once it has one; wait for its end if asked to."""
    by = await caller(request, "read")
    client = by.gateway.client(by.tenant)
    found = await view(client, job_id)
    if wait and found.status.receipt is None:
        await _until_ended(request, by, job_id, wait)
        found = await view(client, job_id)
    return respond(found, {})


@router.get("/{job_id}/events", **documented_natively(None, JobView, media=EVENTS))
async def watch_job(request: Request, job_id: str) -> Response:
    """Watch a job: its status, its text while it is generated (`stream`), and its result."""
    by = await caller(request, "read")
    status = await by.gateway.client(by.tenant).status(job_id)
    return StreamingResponse(events(by, status), headers=EVENT_HEADERS, media_type=EVENTS[0])


@router.get("/{job_id}/explain", **documented_natively(None, Explanation))
async def explain_job(request: Request, job_id: str) -> Response:
    """Explain why a job took its lane: decisions, scores, thresholds, checks and cost."""
    by = await caller(request, "read")
    return respond(await by.gateway.client(by.tenant).explain(job_id), {})


@router.post("/{job_id}/cancel", **documented_natively(None, Cancelled))
async def cancel_job(request: Request, job_id: str) -> Response:
    """Cancel a job that has not ended yet."""
    by = await caller(request, "submit")
    cancelled = await by.gateway.client(by.tenant).cancel(job_id)
    return respond({"id": job_id, "cancelled": cancelled}, {})


@router.delete("/{job_id}", **documented_natively(None, Forgotten))
async def forget_job(request: Request, job_id: str) -> Response:
    """Erase all that is stored of a job: its content, its answer and its record."""
    by = await caller(request, "admin")
    forgotten = await by.gateway.client(by.tenant).forget(job_id)
    return respond({"id": job_id, "forgotten": forgotten}, {})


async def _submitted(
    by: Caller, fields: Any, request: Request, turns: asyncio.Semaphore
) -> SubmittedOrNot:
    async with turns:
        try:
            return {
                "id": await submit(by, job_of(fields, by.tenant, request.headers)),
                "error": None,
            }
        except (ForebayError, Refusal) as error:
            return {"id": None, "error": error_of(error)}


async def _until_ended(request: Request, by: Caller, job_id: str, wait_s: float) -> None:
    """Return when the job has ended, the time is over, or the client has gone away."""
    future: asyncio.Future[Any] = await by.gateway.client(by.tenant).future(job_id)
    gone: asyncio.Future[Any] = asyncio.ensure_future(disconnected(request))
    try:
        either = [future, gone]
        await asyncio.wait(either, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not future.done():
            future.cancel()
