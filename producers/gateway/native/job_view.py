"""A job as the native endpoints show it: its status, and its answer or failure once it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from forebay.producers.async_client import AsyncClient
from forebay.producers.gateway.asking.asking import RESULT_S
from forebay.producers.gateway.asking.options import job_options, span
from forebay.producers.gateway.errors import InvalidRequest, Refusal, fault_of
from forebay.routing.base import FrozenModel
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Job, JobStatus


class JobError(TypedDict):
    """Why a job has no answer."""

    code: str
    message: str
    field: str | None


class JobView(FrozenModel):
    """Where a job is, and what it ended with.

    Attributes:
        status: where the job is; with the receipt once it has ended.
        answer: the answer, if there is one.
        error: why there is none, if the job ended without.
    """

    status: JobStatus
    answer: Answer | None = None
    error: JobError | None = None


async def view(client: AsyncClient, job_id: str) -> JobView:
    """Return a job as it is now.

    Raises:
        UnknownJob: The tenant has no such job.
    """
    status = await client.status(job_id)
    if status.receipt is None:
        return JobView(status=status)
    try:
        return JobView(status=status, answer=await client.result(job_id, timeout=RESULT_S))
    except ForebayError as error:
        if error.receipt is None:
            raise
        return JobView(status=status, error=error_of(error))


def error_of(error: ForebayError | Refusal) -> JobError:
    """Return an error as a part of a response."""
    fault = fault_of(error)
    return {"code": fault.code, "message": fault.message, "field": fault.field}


def job_of(fields: Any, tenant: str, headers: Mapping[str, str]) -> Job:
    """Return the job that a body describes: a whole job, or a request alone.

    Raises:
        InvalidRequest: The body is no JSON object.
        InvalidJob: A field is wrong.
        EgressDenied: The job is pinned to Bedrock and may not leave the building.
    """
    if not isinstance(fields, dict):
        raise InvalidRequest("must be a JSON object: a job, or a request", field="body")
    whole = fields if "request" in fields or "kind" not in fields else {"request": fields}
    if isinstance(deadline := whole.get("deadline"), str):
        whole = {**whole, "deadline": span(deadline) or deadline}
    return Job.model_validate({"tenant": tenant, **job_options(headers), **whole})
