"""From error responses and broken connections to our errors. No message quotes what was sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from urllib3 import exceptions as http

from forebay.routing.errors import (
    ForebayError,
    InvalidJob,
    LastingError,
    ModelRefused,
    Throttled,
    TooLong,
    Unavailable,
)
from forebay.routing.store.backoff import asked_wait_s
from forebay.workers.frontier.provider import ModelFault, OutcomeUnknown

#: An error class, its message, and the field that the error names.
_Mapped = tuple[type[ForebayError], str, str | None]

#: Codes with a meaning of their own, whatever the status: our error, its message and its field.
_BY_CODE: dict[str, _Mapped] = {
    "context_length_exceeded": (TooLong, "the prompt or its answer does not fit {model}", None),
    "insufficient_quota": (ModelFault, "the account of {endpoint} has no credit left", "endpoints"),
    "content_filter": (ModelRefused, "{model} does not take this prompt", None),
    "model_not_found": (ModelFault, "{endpoint} has no {model}", "model"),
}
_BY_STATUS: dict[int, _Mapped] = {
    401: (ModelFault, "{endpoint} rejects the key: check {key}", "endpoints"),
    402: (ModelFault, "the account of {endpoint} has no credit left", "endpoints"),
    403: (ModelFault, "{endpoint} does not allow {model} with this key", "endpoints"),
    404: (ModelFault, "{endpoint} has no {model}, or its url is wrong", "endpoints"),
    408: (OutcomeUnknown, "{endpoint} gave up waiting", None),
    413: (TooLong, "the prompt is too long for {endpoint}", None),
    429: (Throttled, "{endpoint} asks to slow down", None),
    500: (Unavailable, "{endpoint} failed", None),
    503: (Unavailable, "{endpoint} is unavailable", None),
    529: (Unavailable, "{endpoint} is overloaded", None),
}
_REJECTED = frozenset({400, 422})
_FORBIDDEN = 403
_DECLINED = re.compile(r"\bmoderation\b|\bflagged\b|content policy|safety system", re.IGNORECASE)
_SERVER_ERROR = 500
#: What a rejected request is rejected for: the message is searched, in this order.
_BY_MESSAGE: tuple[tuple[re.Pattern[str], _Mapped], ...] = (
    (
        re.compile(r"context length|too long|maximum context|too many tokens", re.IGNORECASE),
        _BY_CODE["context_length_exceeded"],
    ),
    (
        re.compile(r"response_format|schema", re.IGNORECASE),
        (InvalidJob, "is not supported by structured output", "schema"),
    ),
    (re.compile(""), (InvalidJob, "{endpoint} rejects this request for {model}", None)),
)
_UNSENT = (http.NewConnectionError, http.ConnectTimeoutError, http.NameResolutionError)


class Names:
    """What the messages name: the endpoint, the model, and the variable that holds the key."""

    def __init__(self, endpoint: str, model: str, key: str) -> None:
        self._names = {"endpoint": endpoint, "model": model, "key": key or "key_env"}

    def error(self, mapped: _Mapped) -> ForebayError:
        """Return an error whose message names them."""
        error_class, text, field = mapped
        return error_class(text.format(**self._names), field=field)


def from_response(
    status: int, body: bytes, headers: Mapping[str, str], names: Names
) -> ForebayError:
    """Return our error for a response that is no answer."""
    details = _details(body)
    ours = names.error(_mapped(status, details))
    if isinstance(ours, Throttled | Unavailable):
        ours.retry_after = _retry_after(headers)
    return ours


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the service asks to wait, if it does."""
    millis = headers.get("retry-after-ms", "")
    if millis.isdecimal():
        return asked_wait_s(str(int(millis) / 1_000))
    return asked_wait_s(headers.get("retry-after", ""))


def _mapped(status: int, details: dict[str, Any]) -> _Mapped:
    code = details.get("code")
    if isinstance(code, str) and code in _BY_CODE:
        return _BY_CODE[code]
    text = f"{details.get('message')} {details.get('param')}"
    if status == _FORBIDDEN and _DECLINED.search(text):  # the prompt is at fault, not the key
        return _BY_CODE["content_filter"]
    if status in _REJECTED:
        return next(mapped for words, mapped in _BY_MESSAGE if words.search(text))
    return _BY_STATUS.get(status) or _by_range(status)


def _by_range(status: int) -> _Mapped:
    if status >= _SERVER_ERROR:  # of a proxy in between
        return OutcomeUnknown, "{endpoint} failed, perhaps after the model had answered", None
    if status < min(_REJECTED):
        return ModelFault, "{endpoint} redirects, which is not followed", "endpoints"
    return LastingError, f"{{endpoint}} rejects the call of {{model}} (status {status})", None


def from_exception(error: Exception, names: Names, *, late: bool) -> ForebayError:
    """Return our error for a call without a whole response; only an unsent call is free.

    A call that is `late` was cut off by us.
    """
    if isinstance(error, (*_UNSENT, http.ProxyError)):
        return names.error((Unavailable, "no connection to {endpoint}", None))
    if isinstance(error, http.SSLError):
        return names.error((ModelFault, "the certificate of {endpoint} is not valid", "endpoints"))
    fault = "takes too long" if late else f"cannot be read ({type(error).__name__})"
    return names.error((OutcomeUnknown, f"the response of {{endpoint}} {fault}", None))


def _details(body: bytes) -> dict[str, Any]:
    try:
        details = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return details if isinstance(details, dict) else {}
