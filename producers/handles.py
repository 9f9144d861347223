"""The id of a submitted job, which remembers the type of the answer to come."""

from __future__ import annotations

from typing import Any, Generic, overload

from pydantic import BaseModel

from forebay.routing.jobs import Job
from forebay.routing.receipts import ContentT_co, Extraction
from forebay.routing.requests import Extract, ModelT


class JobHandle(str, Generic[ContentT_co]):
    """A job's id, as a string like any other, with what is known of its answer in this process.

    Type checkers know from it what `client.result(handle)` returns. Stored or sent elsewhere, it is
    the plain id, and the answer is an `Answer` of any content. `JobHandle(stored_id, Invoice)`
    gives a stored id its model class back.

    Attributes:
        answer_model: the pydantic model class that `Extract` was given as its schema, if any. The
            extracted object becomes an instance of it.
    """

    __slots__ = ("answer_model",)

    answer_model: type[BaseModel] | None

    @overload
    def __new__(cls, job_id: str, answer_model: None = None) -> JobHandle: ...
    @overload
    def __new__(cls, job_id: str, answer_model: type[ModelT]) -> JobHandle[Extraction[ModelT]]: ...
    @overload
    def __new__(cls, job_id: str, answer_model: type[BaseModel] | None) -> JobHandle[Any]: ...
    def __new__(cls, job_id: str, answer_model: type[BaseModel] | None = None) -> Any:
        """Make a handle of an id."""
        handle = super().__new__(cls, job_id)
        handle.answer_model = answer_model
        return handle


def answer_model_of(job: Job | str) -> type[BaseModel] | None:
    """Return the model class that a job, or the handle of a job, has for its extracted object."""
    if isinstance(job, JobHandle):
        return job.answer_model
    request = job.request if isinstance(job, Job) else None
    return request.answer_model if isinstance(request, Extract) else None
