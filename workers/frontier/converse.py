"""Bedrock's answer to a prompt, through boto3: the only file that imports it.

A call is made once: botocore repeats nothing, because a repeated call is a second bill. How a call
ended says what became of its money: a `Reply` is billed, and `billed` tells of an error.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass, field
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
from forebay.workers.frontier.billing import Malformed, OutcomeUnknown, Refused, Wasted, billed
from forebay.workers.frontier.converse_request import bounds, converse_request
from forebay.workers.frontier.settings import BedrockSettings

#: All that the bedrock worker needs of this folder.
__all__ = [
    "Converse", "Malformed", "OutcomeUnknown", "Refused", "Reply", "Wasted", "billed", "bounds",
]  # fmt: skip

STAND_IN_MARK = "x-forebay-stand-in"
CONNECT_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, which is billed.

    Attributes:
        model: the id that was called.
        tier: the service tier that Bedrock says it was answered in.
        stand_in: made by the local stand-in, not by a model.
        latency_s: seconds from the request to the whole answer.
    """

    text: str = field(repr=False)
    usage: Usage
    finish: Ending
    model: str
    tier: Tier
    stand_in: bool
    latency_s: float


class Converse:
    """Calls models on Bedrock. Safe to share between threads; connects when first used."""

    def __init__(self, settings: BedrockSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._made: Any = None

    def call(self, prompt: Prompt, model: str, *, call_id: str) -> Reply:
        """Ask once, blocking.

        A `JsonSchema` is held by Bedrock where it can; a `Choice` or `Pattern` is the prompt's to
        ask for and the checks' to see to.

        Args:
            prompt: what is asked; `bounds` says what of it can be billed.
            model: a model id, or that of an inference profile.
            call_id: known to this call alone.

        Raises:
            OutcomeUnknown: The call may have been billed.
            Refused, Malformed: There is no good answer, but the call is billed.
            PassingError: `Throttled` or `Unavailable`; it was not billed.
            CallerError: `Misconfigured`, `TooLong` or `InvalidJob`; it was not billed.
            LastingError: Bedrock refuses the call for another reason; it was not billed.
        """
        outcome = self._ask(converse_request(prompt, model, call_id))
        if isinstance(outcome, ForebayError):
            # Raised here and not where it was caught, so that no error report can walk from it
            # to the foreign error, which may quote the request.
            raise outcome
        return outcome

    def _ask(self, request: dict[str, Any]) -> Reply | ForebayError:
        model, began = request["modelId"], time.monotonic()
        try:
            answer = self._client().converse(**request)
            return _reply(answer, model, time.monotonic() - began)
        except boto.ClientError as error:
            return _refusal(error, model)
        except ForebayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever broke, the call may have been billed
            return _failure(error, model)

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = _connected(self._settings)
            return self._made


def _connected(settings: BedrockSettings) -> Any:
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


# --- a good answer, or at least a billed one ------------------------------------------------------

_FINISHES: dict[str, Ending] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
_REFUSALS = {"guardrail_intervened", "content_filtered", "refusal"}


def _reply(answer: dict[str, Any], model: str, latency_s: float) -> Reply:
    usage, reason = _usage(answer["usage"]), str(answer["stopReason"])
    if reason in _REFUSALS:
        raise Refused(f"{model} declined to answer ({reason})", usage)
    if reason not in _FINISHES:
        raise Malformed(f"{model} broke off ({_word(reason)})", usage)
    tier = answer.get("serviceTier", {}).get("type")
    blocks = answer["output"]["message"]["content"]
    return Reply(
        text="".join(block.get("text", "") for block in blocks),  # thoughts have no text
        usage=usage,
        finish=_FINISHES[reason],
        model=model,
        tier=tier if tier in get_args(Tier) else "default",
        stand_in=_headers(answer).get(STAND_IN_MARK) == "1",
        latency_s=latency_s,
    )


def _usage(counted: dict[str, Any]) -> Usage:
    written = counted.get("cacheWriteInputTokens", 0)
    details = counted.get("cacheDetails", [])
    for_an_hour = sum(one["inputTokens"] for one in details if one["ttl"] == "1h")
    return Usage(
        input=counted["inputTokens"],
        output=counted["outputTokens"],
        cache_read=counted.get("cacheReadInputTokens", 0),
        cache_write_5m=written - for_an_hour,
        cache_write_1h=for_an_hour,
    )


def _headers(answer: dict[str, Any]) -> dict[str, str]:
    return cast("dict[str, str]", answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}))


def _word(text: str) -> str:
    """A code of Bedrock's, if it is one: nothing else of an answer gets into an error."""
    return text if re.fullmatch(r"\w{1,60}", text) else "no code"


# --- botocore's errors, mapped once ---------------------------------------------------------------
# Texts of our own throughout: Bedrock's, and boto3's, may quote the request.

_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give it a role"
_PROFILES = "{model} is served by profiles only: put global., or us., eu. and so on, before it"

_BUSY = (Throttled, "Bedrock asks to slow down ({code})", None)
_DOWN = (Unavailable, "Bedrock cannot answer now ({code})", None)
_UNKNOWN = (OutcomeUnknown, "Bedrock broke off, perhaps after the model's work ({code})", None)
_KEYS_WRONG = "not accepted ({code}): check them, FOREBAY_BEDROCK_REGION and this machine's clock"
_KEY = (Misconfigured, _KEYS_WRONG, "AWS credentials")
_RIGHT = (Misconfigured, "these credentials may not call {model}", "AWS credentials")

_Mapped = tuple[type[ForebayError], str, str | None]

_BY_CODE: dict[str, _Mapped] = {
    "ThrottlingException": _BUSY,
    "ModelNotReadyException": _BUSY,
    "ServiceQuotaExceededException": _BUSY,
    "TooManyRequestsException": _BUSY,
    "ServiceUnavailableException": _DOWN,
    "InternalServerException": _DOWN,
    "ModelTimeoutException": _UNKNOWN,
    "ModelErrorException": _UNKNOWN,
    "AccessDeniedException": _RIGHT,
    "ResourceNotFoundException": (Misconfigured, "Bedrock has no {model} here", "model"),
    "UnrecognizedClientException": _KEY,
    "InvalidSignatureException": _KEY,
    "IncompleteSignatureException": _KEY,
    "MissingAuthenticationTokenException": _KEY,
    "ExpiredTokenException": (Misconfigured, "have expired", "AWS credentials"),
}
_BY_STATUS: dict[int, _Mapped] = {429: _BUSY, 500: _DOWN, 503: _DOWN, 408: _UNKNOWN}
_SERVER_ERROR = 500
_REFUSED: _Mapped = (LastingError, "Bedrock refuses the call of {model} ({code})", None)

_BY_TEXT: tuple[tuple[str, _Mapped], ...] = (
    (r"inference profile|on-demand", (Misconfigured, _PROFILES, "model")),
    (r"model identifier|model id", (Misconfigured, "Bedrock knows no {model}", "model")),
    (r"schema|output_?config", (InvalidJob, "is not one that Bedrock can hold", "schema")),
    (r"too long|tokens|context", (TooLong, "prompt or answer do not fit {model}", None)),
    (r"", (InvalidJob, "Bedrock does not take this request for {model}", None)),
)

_BY_TYPE: tuple[tuple[tuple[type[Exception], ...], _Mapped], ...] = (
    (
        (boto.NoCredentialsError, boto.PartialCredentialsError),
        (Misconfigured, f"there are none, or not all: {_KEYS}", "AWS credentials"),
    ),
    (
        (boto.SSOTokenLoadError, boto.UnauthorizedSSOTokenError, boto.TokenRetrievalError),
        (Misconfigured, "the login has ended: aws sso login", "AWS credentials"),
    ),
    ((boto.CredentialRetrievalError,), (Unavailable, "AWS credentials cannot be fetched", None)),
    ((boto.ProfileNotFound,), (Misconfigured, "names no profile", "AWS_PROFILE")),
    (
        (boto.NoRegionError, boto.InvalidRegionError),
        (Misconfigured, "is not a region of AWS", "FOREBAY_BEDROCK_REGION"),
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


def _refusal(error: boto.ClientError, model: str) -> ForebayError:
    """The error for an answer that is an error."""
    code = error.response["Error"]["Code"]
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    mapped = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if code == "ValidationException":
        text = error.response["Error"]["Message"]
        mapped = next(found for words, found in _BY_TEXT if re.search(words, text, re.IGNORECASE))
    made = _made(mapped or (_UNKNOWN if status > _SERVER_ERROR else _REFUSED), model, _word(code))
    if isinstance(made, Throttled | Unavailable):
        made.retry_after = _retry_after(_headers(error.response))
    return made


def _failure(error: Exception, model: str) -> ForebayError:
    """The error for a call without a readable answer. Only what was never sent is surely free.

    An answer cut in the middle gets here as a `KeyError`: botocore takes what there is for all.
    """
    kind = type(error).__name__
    for types, mapped in _BY_TYPE:
        if isinstance(error, types):
            return _made(mapped, model, kind)
    return OutcomeUnknown(f"no answer that can be read ({kind})")


def _made(mapped: _Mapped, model: str, code: str) -> ForebayError:
    kind, text, at = mapped
    return kind(text.format(model=model, code=code), field=at)


def _retry_after(headers: dict[str, str]) -> float | None:
    seconds, millis = headers.get("retry-after", ""), headers.get("x-amz-retry-after", "")
    if millis.isdecimal():
        return int(millis) / 1_000
    return float(seconds) if re.fullmatch(r"\d{1,6}(\.\d+)?", seconds) else None
