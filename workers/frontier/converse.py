"""Bedrock as a provider, through boto3's Converse. Nothing else in this folder imports boto3.

A call is made once: botocore's retries are off, because a repeated call is a second bill. Every
ending is either a `Reply`, which is billed, or an error for which `billed` tells the bill.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import replace
from typing import Any, cast, get_args

import boto3
from botocore import exceptions as boto
from botocore.config import Config

from forebay.routing.errors import (
    ForebayError,
    InvalidJob,
    LastingError,
    Misconfigured,
    Throttled,
    TooLong,
    Unavailable,
)
from forebay.routing.limits.prices import Tier, Usage
from forebay.workers.engines.engine import Ending, Prompt
from forebay.workers.frontier.converse_request import (
    bounds,
    converse_request,
    cut_at_blank_stop,
)
from forebay.workers.frontier.provider import Malformed, OutcomeUnknown, Provider, Refused, Reply
from forebay.workers.frontier.settings import BedrockSettings

STAND_IN_MARK = "x-forebay-stand-in"  # header of every answer that the mock of Bedrock makes
CONNECT_TIMEOUT_S = 5


class Converse(Provider):
    """Calls models on Bedrock. Safe to share between threads; connects on the first call."""

    def __init__(self, settings: BedrockSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._connection: Any = None

    @property
    def term_s(self) -> float:
        """Seconds after which a call of unknown outcome has ended on Bedrock's side too."""
        return self._settings.bedrock_term_s

    def bounds(self, prompt: Prompt, model: str) -> tuple[int, int]:
        """Return the most tokens a call can be billed for: of its prompt, and of its answer."""
        return bounds(prompt, model)

    def call(self, prompt: Prompt, model: str, *, call_id: str) -> Reply:
        """Ask a model once and block until it has answered. `Provider.call` lists the errors.

        Bedrock enforces a `JsonSchema` if the model has structured output. A `Choice` or `Pattern`
        is left to the prompt's words and to the checks of the answer.
        """
        request = converse_request(prompt, model, call_id)
        ending = self._ask(request)
        if isinstance(ending, ForebayError):
            # Raised here and not where it was caught, so that no error report can walk from it
            # to the foreign error, which may quote the request.
            raise ending
        text = cut_at_blank_stop(ending.text, prompt)
        finish = ending.finish if text == ending.text else "stop"
        return replace(ending, text=text, finish=finish, enforced="outputConfig" in request)

    def _ask(self, request: dict[str, Any]) -> Reply | ForebayError:
        model, began = request["modelId"], time.monotonic()
        try:
            response = self._client().converse(**request)
            return _reply(response, model, time.monotonic() - began)
        except boto.ClientError as error:
            return _from_response(error, model)
        except ForebayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever broke, the call may have been billed
            return _without_response(error, model)

    def _client(self) -> Any:
        with self._lock:
            if self._connection is None:
                self._connection = _connect(self._settings)
            return self._connection


def _connect(settings: BedrockSettings) -> Any:
    # At DEBUG botocore logs whole requests, which hold content.
    logging.getLogger("botocore").setLevel(logging.INFO)
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=settings.bedrock_timeout_s,
        max_pool_connections=settings.bedrock_concurrency,
        retries={"total_max_attempts": 1, "mode": "standard"},
        tcp_keepalive=True,
    )
    try:
        return boto3.session.Session().client(
            "bedrock-runtime",
            region_name=settings.bedrock_region,
            endpoint_url=settings.bedrock_endpoint,
            config=config,
        )
    except boto.InvalidRegionError:
        raise
    except ValueError:
        raise Misconfigured("is not a URL", field="FOREBAY_BEDROCK_ENDPOINT") from None


# --- from a response to a reply -------------------------------------------------------------------

_FINISHES: dict[str, Ending] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
_REFUSALS = {"guardrail_intervened", "content_filtered", "refusal"}


def _reply(response: dict[str, Any], model: str, latency_s: float) -> Reply:
    """Read a response of status 200.

    Raises:
        Refused, Malformed: Its stop reason says that there is no usable answer.
    """
    usage, reason = _usage(response["usage"]), str(response["stopReason"])
    if reason in _REFUSALS:
        raise Refused(f"{model} declined to answer ({reason})", usage)
    if reason not in _FINISHES:
        raise Malformed(f"{model} broke off ({_code_word(reason)})", usage)
    tier = response.get("serviceTier", {}).get("type")
    blocks = response["output"]["message"]["content"]
    return Reply(
        text="".join(block.get("text", "") for block in blocks),  # reasoning blocks have no text
        usage=usage,
        finish=_FINISHES[reason],
        model=model,
        tier=tier if tier in get_args(Tier) else "default",
        stand_in=_headers(response).get(STAND_IN_MARK) == "1",
        latency_s=latency_s,
    )


def _usage(counts: dict[str, Any]) -> Usage:
    written = counts.get("cacheWriteInputTokens", 0)
    details = counts.get("cacheDetails", [])
    written_1h = sum(part["inputTokens"] for part in details if part["ttl"] == "1h")
    return Usage(
        input=counts["inputTokens"],
        output=counts["outputTokens"],
        cache_read=counts.get("cacheReadInputTokens", 0),
        cache_write_5m=written - written_1h,
        cache_write_1h=written_1h,
    )


def _headers(response: dict[str, Any]) -> dict[str, str]:
    return cast("dict[str, str]", response.get("ResponseMetadata", {}).get("HTTPHeaders", {}))


def _code_word(text: str) -> str:
    """Return the text if it is one word, as Bedrock's codes are: no other text gets into errors."""
    return text if re.fullmatch(r"\w{1,60}", text) else "no code"


# --- from botocore's errors to ours ---------------------------------------------------------------
# All messages are our own: those of Bedrock and of boto3 may quote the request.

#: An error class, its message, and the field that the error names.
_Mapped = tuple[type[ForebayError], str, str | None]

_LOG_IN = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or use a role"
_REJECTED = "rejected ({code}): check them, FOREBAY_BEDROCK_REGION and this machine's clock"
_NEEDS_PROFILE = "{model} needs an inference profile: put global., us., eu. and so on before the id"

_BUSY = (Throttled, "Bedrock asks to slow down ({code})", None)
_DOWN = (Unavailable, "Bedrock is unavailable ({code})", None)
_UNKNOWN = (OutcomeUnknown, "Bedrock failed, perhaps after the model had answered ({code})", None)
_BAD_KEY = (Misconfigured, _REJECTED, "AWS credentials")
_NO_RIGHT = (Misconfigured, "have no permission to call {model}", "AWS credentials")
_OTHER: _Mapped = (LastingError, "Bedrock rejects the call of {model} ({code})", None)

_BY_CODE: dict[str, _Mapped] = {
    "ThrottlingException": _BUSY,
    "ModelNotReadyException": _BUSY,
    "ServiceQuotaExceededException": _BUSY,
    "TooManyRequestsException": _BUSY,
    "ServiceUnavailableException": _DOWN,
    "InternalServerException": _DOWN,
    "ModelTimeoutException": _UNKNOWN,
    "ModelErrorException": _UNKNOWN,
    "AccessDeniedException": _NO_RIGHT,
    "ResourceNotFoundException": (Misconfigured, "Bedrock has no {model} in this region", "model"),
    "UnrecognizedClientException": _BAD_KEY,
    "InvalidSignatureException": _BAD_KEY,
    "IncompleteSignatureException": _BAD_KEY,
    "MissingAuthenticationTokenException": _BAD_KEY,
    "ExpiredTokenException": (Misconfigured, "have expired", "AWS credentials"),
}
_BY_STATUS: dict[int, _Mapped] = {429: _BUSY, 500: _DOWN, 503: _DOWN, 408: _UNKNOWN}
_SERVER_ERROR = 500

#: A `ValidationException` has no finer code: its message is searched, in this order.
_BY_MESSAGE: tuple[tuple[str, _Mapped], ...] = (
    (r"inference profile|on-demand", (Misconfigured, _NEEDS_PROFILE, "model")),
    (r"model identifier|model id", (Misconfigured, "Bedrock has no {model}", "model")),
    (
        r"schema|output_?config|compiled grammar|union type|declared type",
        (InvalidJob, "is not supported by structured output", "schema"),
    ),
    (r"too long|tokens|context", (TooLong, "the prompt or its answer does not fit {model}", None)),
    (r"", (InvalidJob, "Bedrock rejects this request for {model}", None)),
)

_BY_TYPE: tuple[tuple[tuple[type[Exception], ...], _Mapped], ...] = (
    (
        (boto.NoCredentialsError, boto.PartialCredentialsError),
        (Misconfigured, f"missing or incomplete: {_LOG_IN}", "AWS credentials"),
    ),
    (
        (boto.SSOTokenLoadError, boto.UnauthorizedSSOTokenError, boto.TokenRetrievalError),
        (Misconfigured, "the login has expired: run aws sso login", "AWS credentials"),
    ),
    ((boto.CredentialRetrievalError,), (Unavailable, "AWS credentials cannot be fetched", None)),
    ((boto.ProfileNotFound,), (Misconfigured, "names no configured profile", "AWS_PROFILE")),
    (
        (boto.NoRegionError, boto.InvalidRegionError),
        (Misconfigured, "is not an AWS region", "FOREBAY_BEDROCK_REGION"),
    ),
    (
        (boto.InvalidEndpointConfigurationError,),
        (Misconfigured, "cannot be used with these credentials", "FOREBAY_BEDROCK_ENDPOINT"),
    ),
    ((boto.ParamValidationError,), (Misconfigured, "boto3 cannot make a call of {model}", "model")),
    (
        (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError),
        (Unavailable, "no connection to Bedrock in this region, or at this endpoint", None),
    ),
)


def _from_response(error: boto.ClientError, model: str) -> ForebayError:
    """Return our error for an error response of Bedrock."""
    code = error.response["Error"]["Code"]
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    mapped = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if code == "ValidationException":
        text = error.response["Error"]["Message"].casefold()
        mapped = next(entry for words, entry in _BY_MESSAGE if re.search(words, text))
    if mapped is None:
        mapped = _UNKNOWN if status > _SERVER_ERROR else _OTHER
    ours = _error(mapped, model, _code_word(code))
    if isinstance(ours, Throttled | Unavailable):
        ours.retry_after = _retry_after(_headers(error.response))
    return ours


def _without_response(error: Exception, model: str) -> ForebayError:
    """Return our error for a call without a readable response. Only an unsent call is surely free.

    A response cut in the middle gets here as a `KeyError`: botocore parses whatever has arrived.
    """
    class_name = type(error).__name__
    for types, mapped in _BY_TYPE:
        if isinstance(error, types):
            return _error(mapped, model, class_name)
    return OutcomeUnknown(f"Bedrock's response cannot be read ({class_name})")


def _error(mapped: _Mapped, model: str, code: str) -> ForebayError:
    error_class, text, at = mapped
    return error_class(text.format(model=model, code=code), field=at)


def _retry_after(headers: dict[str, str]) -> float | None:
    """Return the seconds that Bedrock asks to wait, if it does."""
    seconds, millis = headers.get("retry-after", ""), headers.get("x-amz-retry-after", "")
    if millis.isdecimal():
        return int(millis) / 1_000
    return float(seconds) if re.fullmatch(r"\d{1,6}(\.\d+)?", seconds) else None
