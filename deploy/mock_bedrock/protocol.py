"""The HTTP protocol of the Bedrock Runtime as a server speaks it: signatures, bodies, errors."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from forebay.routing.json_tree import nodes
from mock_bedrock.event_stream import frame
from mock_bedrock.parameters import ErrorResponse, invalid, validate_parameters
from mock_bedrock.prompt_cache import CHARS_PER_TOKEN, NOTHING_CACHED, Cached, tokens
from mock_bedrock.spoiled import spoil

MAX_SKEW_S = 300

#: Error responses by the name of their fault: status, type, and a message like Bedrock's own.
FAILURES = {
    "throttle": (429, "ThrottlingException", "Too many requests, please wait before trying again."),
    "not_ready": (429, "ModelNotReadyException", "The model is not ready."),
    "quota": (400, "ServiceQuotaExceededException", "Your request exceeds the service quota."),
    "unavailable": (503, "ServiceUnavailableException", "Bedrock is unable to process this."),
    "internal": (500, "InternalServerException", "The system encountered an unexpected error."),
    "gateway": (504, "", "Gateway Timeout"),
    "model_timeout": (408, "ModelTimeoutException", "Model did not respond in time."),
    "model_error": (424, "ModelErrorException", "The model returned an error."),
    "denied": (403, "AccessDeniedException", "You don't have access to the model."),
    "expired": (403, "ExpiredTokenException", "The security token included is expired."),
    "unrecognized": (403, "UnrecognizedClientException", "The security token is invalid."),
    "not_allowed": (400, "ValidationException", "Operation not allowed"),
    "payment": (403, "AccessDeniedException", "A valid payment instrument must be provided."),
    "unknown_model": (400, "ValidationException", "The provided model identifier is invalid."),
    "not_found": (404, "ResourceNotFoundException", "Could not resolve the foundation model."),
    "invalid": (400, "ValidationException", "Malformed input request, please reformat your input."),
    "too_long": (400, "ValidationException", "Input is too long for requested model."),
    "profile": (
        400, "ValidationException",
        "Invocation with on-demand throughput isn't supported. Retry with an inference profile.",
    ),
}  # fmt: skip

#: Stop reasons of responses of status 200 that are billed but hold no good answer, by fault.
ENDINGS = {
    "refuse": "content_filtered",
    "guardrail": "guardrail_intervened",
    "malformed": "malformed_model_output",
    "overflow": "model_context_window_exceeded",
}

_FIXED_SAMPLING = re.compile(r"claude-(sonnet-5|haiku-5-5|fable|opus-(5|4-[7-9]))")


@dataclass(frozen=True)
class Request:
    """The question of a request to the model, whatever the operation."""

    prompt: str
    max_tokens: int
    stop: list[str] = field(default_factory=list)
    schema: dict[str, Any] | None = None
    tier: str = "default"
    fields: tuple[str, ...] = ()

    @classmethod
    def read(cls, operation: str, model: str, body: dict[str, Any]) -> Request:
        """Read the body of a request.

        Raises:
            ErrorResponse: As Bedrock answers such a request.
        """
        if operation == "count-tokens":
            body = body.get("input", {}).get("converse", {})
        limits = body if operation == "invoke" else body.get("inferenceConfig", {})
        _validate(model, body.get("messages"), limits)
        output = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {})
        schema = json.loads(output["jsonSchema"]["schema"]) if output else None
        _validate_schema(schema)
        validate_parameters(model, body)
        return cls(
            prompt="\n".join(_texts([body.get("system"), body["messages"]])),
            max_tokens=limits.get("maxTokens") or limits.get("max_tokens") or 4_096,
            stop=limits.get("stopSequences") or limits.get("stop_sequences") or [],
            schema=schema,
            tier=body.get("serviceTier", {}).get("type", "default"),
            fields=tuple(body.get("additionalModelResponseFieldPaths", ())),
        )

    def require_room(self, context_tokens: int | None) -> None:
        """Raise `ErrorResponse` if the prompt and its answer are longer than the context."""
        if context_tokens is not None and tokens(self.prompt) + self.max_tokens > context_tokens:
            raise ErrorResponse(*FAILURES["too_long"])


@dataclass(frozen=True)
class Response:
    """The answer to a request, and the bodies that carry it."""

    text: str
    stop_reason: str
    tokens_in: int
    tokens_out: int
    tier: str = "default"
    cached: Cached = NOTHING_CACHED
    stop_sequence: str | None = None
    fields: tuple[str, ...] = ()

    @classmethod
    def answering(
        cls, request: Request, text: str, ending: str | None = None, cached: Cached = NOTHING_CACHED
    ) -> Response:
        """Make the response to a request; `ending` replaces the stop reason.

        The text is cut at the first stop string, and at `max_tokens`.
        """
        reason, stop = "end_turn", None
        cuts = [(at, stop) for stop in request.stop if (at := text.find(stop)) >= 0]
        if cuts:
            at, stop = min(cuts)
            text, reason = text[:at], "stop_sequence"
        if tokens(text) > request.max_tokens:
            text, reason, stop = text[: request.max_tokens * CHARS_PER_TOKEN], "max_tokens", None
        counts = tokens(request.prompt), tokens(text)
        return cls(text, ending or reason, *counts, request.tier, cached, stop, request.fields)

    def _ending(self) -> dict[str, Any]:
        """Return why the text ended, and which stop string ended it if the request asks for it."""
        if "/stop_sequence" not in self.fields:
            return {"stopReason": self.stop_reason}
        named = {"stop_sequence": self.stop_sequence}
        return {"stopReason": self.stop_reason, "additionalModelResponseFields": named}

    def usage(self) -> dict[str, int]:
        """Return the token counts as Converse gives them."""
        return {
            "inputTokens": self.tokens_in - self.cached.read - self.cached.written,
            "outputTokens": self.tokens_out,
            "totalTokens": self.tokens_in + self.tokens_out,
            "cacheReadInputTokens": self.cached.read,
            "cacheWriteInputTokens": self.cached.written,
        }

    def converse(self, latency_ms: int) -> dict[str, Any]:
        """Return the body of a response of Converse."""
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": self.text}]}},
            **self._ending(),
            "usage": self.usage(),
            "metrics": {"latencyMs": latency_ms},
            "serviceTier": {"type": self.tier},
        }

    def invoke(self) -> dict[str, Any]:
        """Return the body of a response of InvokeModel, as Anthropic's models have it."""
        return {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": self.text}],
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "usage": {"input_tokens": self.tokens_in, "output_tokens": self.tokens_out},
        }

    def stream(self, latency_ms: int, fault: str = "") -> Iterator[bytes]:
        """Yield the frames of a response of ConverseStream; a fault may spoil the last one."""
        whole = self.converse(latency_ms)
        metadata = {name: whole[name] for name in ("usage", "metrics", "serviceTier")}
        yield frame("messageStart", {"role": "assistant"})
        for piece in re.findall(r"\s*\S+\s*", self.text):
            yield frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}})
        yield frame("contentBlockStop", {"contentBlockIndex": 0})
        yield frame("messageStop", self._ending())
        yield frame("metadata", spoil(metadata, fault))


def check_signature(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *,
    key_pair: tuple[str, str], region: str,
) -> None:  # fmt: skip
    """Check the signature (SigV4, service `bedrock`) as AWS does: compute it again and compare.

    Raises:
        ErrorResponse: The signature is missing, made with another key, or does not match.
    """
    header = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
        r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
        headers.get("authorization", ""),
    )
    if header is None:
        raise ErrorResponse(
            403, "MissingAuthenticationTokenException", "Missing Authentication Token"
        )
    key_id, _, signed_region, service, names, signature = header.groups()
    if key_id != key_pair[0]:
        raise ErrorResponse(403, "UnrecognizedClientException", "The security token is invalid.")
    if (signed_region, service) != (region, "bedrock"):
        message = f"Credential should be scoped to a valid region: {region}, service: bedrock."
        raise ErrorResponse(403, "InvalidSignatureException", message)
    stamp = headers.get("x-amz-date", "")
    signed = {name: headers.get(name, "") for name in names.split(";")}
    request = AWSRequest(method=method, url=url, data=body, headers=signed)
    request.context["timestamp"] = stamp
    auth = SigV4Auth(Credentials(*key_pair), service, region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    expected = auth.signature(text, request)
    if _skew_s(stamp) > MAX_SKEW_S or not hmac.compare_digest(expected, signature):
        message = "The request signature we calculated does not match the signature you provided."
        raise ErrorResponse(403, "InvalidSignatureException", message)


def _skew_s(stamp: str) -> float:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return float("inf")
    return abs((datetime.now(UTC) - signed_at).total_seconds())


def _validate(model: str, messages: Any, limits: dict[str, Any]) -> None:
    """Raise `ErrorResponse` if Bedrock rejects such messages or limits for this model."""
    if not messages or messages[0]["role"] != "user":
        raise invalid("A conversation must start with a user message.")
    if any(turn["role"] == following["role"] for turn, following in pairwise(messages)):
        raise invalid("A conversation must alternate between user and assistant roles.")
    if not all(text.strip() for text in _texts(messages)):
        raise invalid("The text field in the ContentBlock object is blank.")
    stops = limits.get("stopSequences") or limits.get("stop_sequences") or []
    if not all(stop.strip() for stop in stops):
        raise invalid("stop_sequences: each stop sequence must contain non-whitespace")
    if _FIXED_SAMPLING.search(model) and {"temperature", "topP", "top_p"} & set(limits):
        raise invalid("`temperature` and `top_p` are not supported by this model.")


def _validate_schema(schema: Any) -> None:
    """Raise `ErrorResponse` if an object of the schema is open: structured output rejects it."""
    for node in nodes(schema):
        if not isinstance(node, dict) or node.get("type") != "object":
            continue
        if node.get("additionalProperties") is not False:
            raise invalid(
                "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
                "explicitly set to false"
            )


def _texts(node: Any) -> Iterator[str]:
    """Yield the texts of messages and content blocks."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for part in node:
            yield from _texts(part)
    elif isinstance(node, dict):
        yield from _texts(node.get("content", node.get("text")))
