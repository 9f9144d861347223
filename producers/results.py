"""The end of a job, as its caller gets it: an answer of the right type, or an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, NamedTuple, cast

from pydantic import BaseModel, ValidationError
from typing_extensions import TypeAliasType

from forebay.producers.handles import JobHandle
from forebay.routing.base import first_error
from forebay.routing.errors import (
    BadAnswer,
    ForebayError,
    ResultTimeout,
    UnknownJob,
    from_code,
    gist,
)
from forebay.routing.jobs import Answer, Answerable, Extraction, Receipt
from forebay.routing.receipts import ContentT_co
from forebay.routing.store.event_loop import outcome

Result = TypeAliasType("Result", Answer[ContentT_co] | Receipt, type_params=(ContentT_co,))
#: A job's id, and the future of its result.
Submitted = tuple[JobHandle[ContentT_co], Future[Result[ContentT_co]]]


class Completed(NamedTuple, Generic[ContentT_co]):
    """A job that has ended, as `as_completed` yields it.

    Attributes:
        handle: the id of the job; `None` for an item that is no valid request.
        answer: the answer, or the error with which the job ended or was refused.
        item: the request, job or handle as it was given.
    """

    handle: JobHandle[ContentT_co] | None
    answer: Answer[ContentT_co] | ForebayError
    item: Answerable[ContentT_co] | str | None


def answer_of(result: Result[ContentT_co]) -> Answer[ContentT_co]:
    """Return the answer, or raise the error that its receipt describes."""
    if isinstance(result, Answer):
        return result
    raise failure(result)


def failure(receipt: Receipt) -> ForebayError:
    """Return the error of a job that ended without an answer, made from its receipt."""
    code = receipt.error or receipt.status
    why = receipt.error_note or gist(code)
    words = ": ".join(filter(None, (f"job {receipt.id} {receipt.status}", why)))
    error = from_code(code, words, receipt.error_field)
    error.job_id, error.receipt = receipt.id, receipt
    return error


@contextmanager
def about(job_id: str) -> Iterator[None]:
    """Have the errors of this block name the job, unless they name another job already."""
    try:
        yield
    except ForebayError as error:
        if error.job_id is None and isinstance(job_id, str):
            error.job_id = str(job_id)
        raise


def answer_or_error(result: Result[ContentT_co]) -> Answer[ContentT_co] | ForebayError:
    """Return the answer, or the error that the receipt describes."""
    return result if isinstance(result, Answer) else failure(result)


def wait(
    job_id: str,
    future: Future[Result[ContentT_co]],
    timeout: float | None,
    *,
    tied: bool = False,
) -> Result[ContentT_co]:
    """Return the result of a job; cancel its future if the wait is given up.

    Args:
        job_id: the job.
        future: its result.
        timeout: seconds to wait; `None` waits as long as it takes.
        tied: the job is cancelled if the wait is given up.

    Raises:
        ResultTimeout: The result did not come in time; the error holds the job's id.
    """
    try:
        return outcome(future, timeout)
    except TimeoutError:
        raise late(job_id, tied=tied) from None


def late(job_id: str, *, tied: bool = False) -> ResultTimeout:
    """Return the error of a caller that waits no longer; only the id leads back to the job."""
    rest = "it is cancelled" if tied else "it goes on, and `result` can ask again"
    words = f"job {job_id} has not ended yet; {rest}"
    return ResultTimeout(words, job_id=str(job_id), job_ids=[str(job_id)])


def with_model(result: Result, model: type[BaseModel] | None) -> Result:
    """Return the result with its extracted object as an instance of `model`.

    Raises:
        BadAnswer: The model refuses the object although the object fits the model's JSON Schema.
    """
    if model is None or not isinstance(result, Answer):
        return result
    if not isinstance(result.content, Extraction):
        return result
    try:
        # From JSON, so that a strict model takes a date or an enum from its text.
        data = model.model_validate_json(json.dumps(result.content.data))
    except Exception as error:  # noqa: BLE001 - validators of the model may raise anything
        raise _refused(result, model, error) from None
    content = result.content.model_copy(update={"data": data})
    return cast("Answer", result.model_copy(update={"content": content}))


def _refused(answer: Answer, model: type[BaseModel], error: Exception) -> BadAnswer:
    """Say what the model refused, without a word of the object."""
    cause, field = type(error).__name__, "data"
    if isinstance(error, ValidationError):
        first = first_error(error)
        cause, place = first.type, first.path[:1]
        names = {name for key, info in model.model_fields.items() for name in (key, info.alias)}
        field = ".".join(["data", *(str(name) for name in place if name in names)])
    refused = BadAnswer(
        f"job {answer.id} is done, but {model.__name__} does not accept the object ({cause}); "
        "`client.result(str(job_id))` gives the object as a dict",
        field=field,
    )
    refused.job_id, refused.receipt = answer.id, answer.receipt
    return refused


def unknown_job(job_id: str) -> UnknownJob:
    """Return the error of a job that does not exist."""
    error = UnknownJob("no such job", field="id")
    error.job_id = str(job_id)
    return error
