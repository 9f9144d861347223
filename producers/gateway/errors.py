"""Why the gateway does not answer a request, and the HTTP status of every error.

A refusal is the gateway's own: the request never became a job. All other errors are Forebay's.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar, NamedTuple

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from forebay.routing import errors as forebay
from forebay.routing.errors import ForebayError, PassingError, ResultTimeout
from forebay.routing.jobs import owner


class Refusal(Exception):
    """The gateway refuses a request.

    Attributes:
        status: the HTTP status.
        code: stable name of the refusal, one per class.
        message: what is wrong, without the field's name.
        field: the field or header to mend, or `None`.
        retry_after: seconds to wait before the next try, or `None`.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"

    def __init__(
        self, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.field, self.retry_after = message, field, retry_after

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidRequest(Refusal):
    """A field of the request is wrong."""


class NotSupported(Refusal):
    """A field asks for what Forebay cannot do."""

    code = "not_supported"


class Unauthorized(Refusal):
    """There is no API key, or it is not valid."""

    status, code = 401, "unauthorized"


class Forbidden(Refusal):
    """The API key does not have the scope."""

    status, code = 403, "forbidden"


class UnknownModel(Refusal):
    """There is no model of this name."""

    status, code = 404, "unknown_model"


class BodyTooLarge(Refusal):
    """The body of the request is larger than the limit."""

    status, code = 413, "body_too_large"


class RangeNotSatisfiable(Refusal):
    """The file ends before the range that was asked for."""

    status, code = 416, "range_not_satisfiable"


class RateLimited(Refusal):
    """The API key has used up its requests or tokens of the minute."""

    status, code = 429, "rate_limited"


class Fault(NamedTuple):
    """An error as a response tells it, in whichever wire format.

    Attributes:
        status: the HTTP status.
        code: stable name of the error.
        message: what is wrong, with the field's name; never holds content of a job.
        field: the field to mend, or `None`.
        job_id: the job that the error is about, or `None`.
        retry_after: seconds to wait before the next try, or `None`.
        passing: the same request may succeed later.
    """

    status: int
    code: str
    message: str
    field: str | None = None
    job_id: str | None = None
    retry_after: float | None = None
    passing: bool = False


#: The status of each code of `forebay.routing.errors`.
_STATUS = {
    forebay.InvalidJob.code: 400,
    forebay.TooLong.code: 400,
    forebay.KeyReused.code: 409,
    forebay.EgressDenied.code: 403,
    forebay.BudgetExceeded.code: 402,
    forebay.UnknownJob.code: 404,
    forebay.NotFound.code: 404,
    forebay.Misconfigured.code: 503,
    forebay.NoModel.code: 503,
    forebay.NoPrice.code: 503,
    forebay.Throttled.code: 429,
    forebay.EngineBusy.code: 503,
    forebay.Unavailable.code: 503,
    forebay.ModelRefused.code: 422,
    forebay.BadAnswer.code: 502,
    forebay.EngineDied.code: 502,
    forebay.EngineUnavailable.code: 503,
    forebay.Cancelled.code: 409,
    forebay.Expired.code: 504,
}
#: Every status of an error, for the documentation of the endpoints.
STATUSES = tuple(sorted({400, 401, 403, 404, 405, 413, 429, 502, 503, *_STATUS.values()}))
GONE = 499  # the client closed the connection; nobody reads this
TIMEOUT = "timeout"
NO_ENDPOINT = "there is no such endpoint; /docs shows all of them, and /status the fleet"
_UNKNOWN = {404: NO_ENDPOINT, 405: "this endpoint takes another method; /docs shows which"}
INTERNAL = Fault(503, "internal", "the gateway broke while it worked on this request")


def fault_of(error: BaseException) -> Fault:
    """Return how a response tells this error."""
    match error:
        case Refusal():
            late = error.retry_after
            passing = late is not None
            return Fault(error.status, error.code, str(error), error.field, None, late, passing)
        case ForebayError():
            return _of_forebay(error)
        case ResultTimeout():
            return Fault(504, TIMEOUT, str(error), job_id=error.job_id)
        case RequestValidationError():
            return _of_parameter(error)
        case HTTPException(status_code=status):
            code = HTTPStatus(status).phrase.lower().replace(" ", "_")
            usual = status in _UNKNOWN and error.detail == HTTPStatus(status).phrase
            return Fault(status, code, _UNKNOWN[status] if usual else str(error.detail))
    return INTERNAL


def _of_parameter(error: RequestValidationError) -> Fault:
    """Return the fault of a parameter in the path or the query."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    message = str(first["msg"]).replace("Input should", "must")
    return Fault(400, InvalidRequest.code, f"{field}: {message}", field)


def _of_forebay(error: ForebayError) -> Fault:
    status = _STATUS.get(error.code, 503)
    late = error.retry_after if isinstance(error, PassingError) else None
    if error.code == forebay.Unavailable.code and late is not None:
        status = 429  # the queue or Redis is full: come back later
    field = None if isinstance(error, forebay.Misconfigured) else error.field
    passing = isinstance(error, PassingError)
    job_id = error.job_id if owner(error.job_id) else None  # a caller may have sent anything as id
    return Fault(status, error.code, str(error), field, job_id, late, passing)
