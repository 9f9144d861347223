"""The options of a job besides its request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, get_args

from forebay.routing.base import Egress
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Answerable, Job, Pin, Priority
from forebay.routing.requests import AnyRequest


class Options(TypedDict, total=False):
    """Keyword arguments of `submit`, `run` and `map`; see `forebay.Job` for their meaning.

    A `deadline` is a time with a time zone, or a span from now.
    """

    egress: Egress
    lane: Pin
    model: str | None
    priority: Priority
    deadline: datetime | timedelta | None
    max_cost_usd: float | None
    idempotency_key: str | None
    cache: bool
    metadata: dict[str, str]


#: A request or a whole job, or a request as data, which is checked when its job is made.
Item = Answerable[Any] | Mapping[str, Any]


def make_job(request: Answerable[Any], tenant: str, options: Options) -> Job:
    """Return the job of a request with its options; a job is returned as it is.

    Raises:
        InvalidJob: An option is wrong or unknown, or was given beside a whole job.
    """
    if isinstance(request, Job):
        if options:
            raise InvalidJob("belongs in the Job itself, not beside it", field=min(options))
        return request
    return Job.model_validate({"tenant": tenant, "request": request, **options})


#: Options that may mean something else for each job of a map: a time from now, and what the caller
#: may change meanwhile.
_OF_EACH_JOB = {"deadline", "metadata"}
_REQUESTS: tuple[type, ...] = get_args(AnyRequest)


def job_maker(tenant: str, options: Options) -> Callable[[Answerable[Any]], Job]:
    """Return what makes the jobs of many requests, as `make_job` does; check equal options once."""
    like: Job | None = None

    def make(request: Answerable[Any]) -> Job:
        nonlocal like
        if like is not None and isinstance(request, _REQUESTS):
            return like.asking(request)
        job = make_job(request, tenant, options)
        if job is not request and not _OF_EACH_JOB & options.keys():
            like = job
        return job

    return make


def passed_deadline(job: Job) -> InvalidJob | None:
    """Return the error of a job whose deadline has passed: nobody could answer it in time."""
    if job.deadline is None or job.deadline > datetime.now(UTC):
        return None
    passed = job.deadline.isoformat(timespec="seconds")
    error = InvalidJob(f"{passed} has passed, give a later time", field="deadline")
    error.job_id = job.id
    return error
