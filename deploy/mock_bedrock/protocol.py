"""The wire protocol of the Bedrock Runtime, from the server's side: signatures, shapes, errors."""

from __future__ import annotations

import hmac
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

MAX_SKEW_S = 300
CHARS_PER_TOKEN = 4  # of English text, about; the stand-in has no tokenizer

#: What Bedrock answers when it fails: status, type, and a message like the real one's.
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
    "not_found": (404, "ResourceNotFoundException", "Could not resolve the foundation model."),
    "invalid": (400, "ValidationException", "Malformed input request, please reformat your input."),
    "too_long": (400, "ValidationException", "Input is too long for requested model."),
    "profile": (
        400, "ValidationException",
        "Invocation with on-demand throughput isn't supported. Retry with an inference profile.",
    ),
}  # fmt: skip

#: Endings of a call that is answered with status 200, and billed, but has no good answer.
ENDINGS = {
    "refuse": "content_filtered",
    "guardrail": "guardrail_intervened",
    "malformed": "malformed_model_output",
    "overflow": "model_context_window_exceeded",
}

_FIXED_SAMPLING = re.compile(r"claude-(sonnet-5|haiku-5-5|fable|opus-(5|4-[7-9]))")


class Refusal(Exception):
    """The request is answered with an error: status, type, message, seconds to wait."""

    def __init__(
        self, status: int, kind: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(kind)
        self.retry_after = retry_after
        self.status = status
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Asked:
    """What a request asks for, of whichever operation."""

    prompt: str
    max_tokens: int
    stop: list[str] = field(default_factory=list)
    schema: dict[str, Any] | None = None
    tier: str = "default"

    @classmethod
    def read(cls, operation: str, model: str, body: dict[str, Any]) -> Asked:
        """Read the body of a request.

        Raises:
            Refusal: With what the real one says to such a request.
        """
        if operation == "count-tokens":
            body = body.get("input", {}).get("converse", {})
        limits = body if operation == "invoke" else body.get("inferenceConfig", {})
        _object_to(model, body.get("messages"), limits)
        output = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {})
        schema = json.loads(output["jsonSchema"]["schema"]) if output else None
        _object_to_schema(schema)
        return cls(
            prompt="\n".join(_texts([body.get("system"), body["messages"]])),
            max_tokens=limits.get("maxTokens") or limits.get("max_tokens") or 4_096,
            stop=limits.get("stopSequences") or limits.get("stop_sequences") or [],
            schema=schema,
            tier=body.get("serviceTier", {}).get("type", "default"),
        )


@dataclass(frozen=True)
class Said:
    """The answer to a request."""

    text: str
    stop_reason: str
    tokens_in: int
    tokens_out: int
    tier: str = "default"

    @classmethod
    def to(cls, asked: Asked, text: str, ending: str | None = None) -> Said:
        """Cut the text where the request says; `ending` is a stop reason to give instead."""
        reason = "end_turn"
        cuts = [at for at in map(text.find, asked.stop) if at >= 0]
        if cuts:
            text, reason = text[: min(cuts)], "stop_sequence"
        if tokens(text) > asked.max_tokens:
            text, reason = text[: asked.max_tokens * CHARS_PER_TOKEN], "max_tokens"
        return cls(text, ending or reason, tokens(asked.prompt), tokens(text), asked.tier)

    def usage(self) -> dict[str, int]:
        """As in an answer of Converse."""
        return {
            "inputTokens": self.tokens_in,
            "outputTokens": self.tokens_out,
            "totalTokens": self.tokens_in + self.tokens_out,
            "cacheReadInputTokens": 0,
            "cacheWriteInputTokens": 0,
        }

    def converse(self, latency_ms: int) -> dict[str, Any]:
        """The body of an answer of Converse."""
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": self.text}]}},
            "stopReason": self.stop_reason,
            "usage": self.usage(),
            "metrics": {"latencyMs": latency_ms},
            "serviceTier": {"type": self.tier},
        }

    def invoke(self) -> dict[str, Any]:
        """The body of an answer of InvokeModel, in the shape of Anthropic's models."""
        return {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": self.text}],
            "stop_reason": self.stop_reason,
            "usage": {"input_tokens": self.tokens_in, "output_tokens": self.tokens_out},
        }

    def stream(self, latency_ms: int) -> Iterator[bytes]:
        """The frames of an answer of ConverseStream."""
        yield _frame("messageStart", {"role": "assistant"})
        for piece in re.findall(r"\s*\S+\s*", self.text):
            yield _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}})
        yield _frame("contentBlockStop", {"contentBlockIndex": 0})
        yield _frame("messageStop", {"stopReason": self.stop_reason})
        metrics = {"latencyMs": latency_ms}
        yield _frame("metadata", {"usage": self.usage(), "metrics": metrics})


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text) // CHARS_PER_TOKEN)


def check_signature(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *,
    key_pair: tuple[str, str], region: str,
) -> None:  # fmt: skip
    """Compute the signature (SigV4, service `bedrock`) again, as AWS does, and compare.

    Raises:
        Refusal: There is none, it is another's, or it does not match.
    """
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
        r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
        headers.get("authorization", ""),
    )
    if found is None:
        raise Refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    key_id, _, its_region, service, names, signature = found.groups()
    if key_id != key_pair[0]:
        raise Refusal(403, "UnrecognizedClientException", "The security token is invalid.")
    if (its_region, service) != (region, "bedrock"):
        message = f"Credential should be scoped to a valid region: {region}, service: bedrock."
        raise Refusal(403, "InvalidSignatureException", message)
    stamp = headers.get("x-amz-date", "")
    signed = {name: headers.get(name, "") for name in names.split(";")}
    request = AWSRequest(method=method, url=url, data=body, headers=signed)
    request.context["timestamp"] = stamp
    auth = SigV4Auth(Credentials(*key_pair), service, region)
    ours = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if _skew_s(stamp) > MAX_SKEW_S or not hmac.compare_digest(ours, signature):
        message = "The request signature we calculated does not match the signature you provided."
        raise Refusal(403, "InvalidSignatureException", message)


def _skew_s(stamp: str) -> float:
    try:
        then = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return float("inf")
    return abs((datetime.now(UTC) - then).total_seconds())


def _invalid(message: str) -> Refusal:
    return Refusal(400, "ValidationException", message)


def _object_to(model: str, messages: Any, limits: dict[str, Any]) -> None:
    if not messages or messages[0]["role"] != "user":
        raise _invalid("A conversation must start with a user message.")
    if any(one["role"] == other["role"] for one, other in pairwise(messages)):
        raise _invalid("A conversation must alternate between user and assistant roles.")
    if not all(text.strip() for text in _texts(messages)):
        raise _invalid("The text field in the ContentBlock object is blank.")
    if _FIXED_SAMPLING.search(model) and {"temperature", "topP", "top_p"} & set(limits):
        raise _invalid("`temperature` and `top_p` are not supported by this model.")


def _object_to_schema(node: Any) -> None:
    if isinstance(node, dict):
        if node.get("type") == "object" and node.get("additionalProperties") is not False:
            raise _invalid(
                "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
                "explicitly set to false"
            )
        for value in node.values():
            _object_to_schema(value)
    elif isinstance(node, list):
        for value in node:
            _object_to_schema(value)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for each in node:
            yield from _texts(each)
    elif isinstance(node, dict):
        yield from _texts(node.get("content", node.get("text")))


def _frame(event: str, payload: dict[str, Any]) -> bytes:
    """One message of `application/vnd.amazon.eventstream`."""
    headers = {
        ":event-type": event,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    packed = b"".join(
        struct.pack(f"!B{len(name)}sBH{len(value)}s", len(name), name.encode(), 7, len(value),
                    value.encode())
        for name, value in headers.items()
    )  # fmt: skip
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", len(packed) + len(body) + 16, len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + body
    return message + struct.pack("!I", zlib.crc32(message))
