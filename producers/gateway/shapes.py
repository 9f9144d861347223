"""An error in the shape of each wire format, and as a response."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Literal

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope
from typing_extensions import TypedDict

from forebay.producers.gateway.errors import Fault
from forebay.producers.gateway.wire import respond

_OPENAI_TYPES = {
    401: "authentication_error", 402: "insufficient_quota", 403: "permission_error",
    404: "not_found_error", 429: "rate_limit_error",
}  # fmt: skip
_ANTHROPIC_TYPES = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
    504: "timeout_error",
}  # fmt: skip


class OpenAIErrorBody(TypedDict):
    """What went wrong, as OpenAI's clients read it, and the job that it is about."""

    message: str
    type: str
    param: str | None
    code: str
    job_id: str | None
    request_id: str


class OpenAIError(TypedDict):
    """An error in OpenAI's format."""

    error: OpenAIErrorBody


class AnthropicErrorBody(TypedDict):
    """What went wrong, as Anthropic's clients read it, and our code, the field and the job."""

    type: str
    message: str
    code: str
    field: str | None
    job_id: str | None


class AnthropicError(TypedDict):
    """An error in Anthropic's format."""

    type: Literal["error"]
    error: AnthropicErrorBody
    request_id: str


class NativeErrorBody(TypedDict):
    """What went wrong: the code of the error, and the field to mend."""

    code: str
    message: str
    field: str | None
    job_id: str | None
    request_id: str


class NativeError(TypedDict):
    """An error in Forebay's own format."""

    error: NativeErrorBody


ERRORS = (OpenAIError, AnthropicError, NativeError)


def openai_error(fault: Fault, request_id: str) -> OpenAIError:
    """Return an error in OpenAI's format."""
    usual = "invalid_request_error" if fault.status < 500 else "server_error"  # noqa: PLR2004 - HTTP
    return {
        "error": {
            "message": fault.message, "type": _OPENAI_TYPES.get(fault.status, usual),
            "param": fault.field, "code": fault.code, "job_id": fault.job_id,
            "request_id": request_id,
        }
    }  # fmt: skip


def anthropic_error(fault: Fault, request_id: str) -> AnthropicError:
    """Return an error in Anthropic's format."""
    usual = "invalid_request_error" if fault.status < 500 else "api_error"  # noqa: PLR2004 - HTTP
    kind = "overloaded_error" if fault.status == 503 and fault.passing else usual  # noqa: PLR2004
    return {
        "type": "error",
        "error": {
            "type": _ANTHROPIC_TYPES.get(fault.status, kind), "message": fault.message,
            "code": fault.code, "field": fault.field, "job_id": fault.job_id,
        },
        "request_id": request_id,
    }  # fmt: skip


def native_error(fault: Fault, request_id: str) -> NativeError:
    """Return an error in Forebay's own format."""
    return {
        "error": {
            "code": fault.code, "message": fault.message, "field": fault.field,
            "job_id": fault.job_id, "request_id": request_id,
        }
    }  # fmt: skip


def error_response(scope: Scope, fault: Fault, request_id: str) -> Response:
    """Return the response of an error in the format of the endpoint that was asked.

    An endpoint that both formats have answers Anthropic's clients in theirs.
    """
    path = scope["path"]
    shared = path.startswith("/v1/models") and is_anthropic(scope)
    if shared or path.startswith("/v1/messages"):
        body: object = anthropic_error(fault, request_id)
    elif path == "/v1" or path.startswith("/v1/"):
        body = openai_error(fault, request_id)
    else:
        body = native_error(fault, request_id)
    return respond(body, _headers(fault), fault.status)


def is_anthropic(scope: Scope) -> bool:
    """Return whether a request comes from a client of Anthropic's format."""
    return "anthropic-version" in Headers(scope=scope)


def _headers(fault: Fault) -> dict[str, str]:
    """Return when to come back, and for OpenAI's and Anthropic's clients, whether to try again.

    Without the header these clients would repeat every request that failed with 409 or 5xx, and
    each repetition would be a new job.
    """
    headers = {"x-should-retry": "true" if fault.passing else "false"}
    if fault.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if fault.retry_after is not None:
        headers["retry-after"] = str(math.ceil(fault.retry_after))
    if fault.job_id:
        headers["forebay-job-id"] = fault.job_id
    return headers


def request_id(request: Request) -> str:
    """Return the id of a request, which its response and its errors name."""
    found: str = request.scope.get("state", {}).get("request_id", "")
    return found
