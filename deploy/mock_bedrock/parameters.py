"""What Bedrock rejects in the parameters of a call, beside its messages; as far as is known."""

from __future__ import annotations

import re
from typing import Any

MAX_METADATA = 16
CACHE_TTLS = {None, "5m", "1h"}
EFFORTS = {"low", "medium", "high", "xhigh", "max"}
MAX_STOPS = 4

#: The most tokens of an answer, by what the id of a model matches.
_MAX_TOKENS = (
    (r"claude-(haiku|sonnet)-4-5", 64_000),
    (r"claude-(haiku|sonnet|opus|fable)-5", 128_000),
    (r"nova-", 10_000),
    (r"gpt-oss", 16_384),
)
_TAKES_MAX = re.compile(r"claude-opus-")
_TAKES_NO_STOPS = re.compile(r"gpt-oss|qwen")

_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_CLAUDE = re.compile(r"anthropic\.claude-")
_TAKES_EFFORT = re.compile(r"claude-(sonnet-5|haiku-5-5|fable|opus-(5|4-[5-9]))")
_TIERS = {"flex": r"nova-pro|gpt-oss", "priority": r"nova-pro|gpt-oss", "default": ""}
_CACHES_PROMPTS = re.compile(r"anthropic\.claude-|amazon\.nova-")


class ErrorResponse(Exception):  # a signal, caught by the server
    """The request is answered with an error: status, type, message, and seconds to wait."""

    def __init__(
        self, status: int, kind: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(kind)
        self.retry_after = retry_after
        self.status = status
        self.kind = kind
        self.message = message


def invalid(message: str) -> ErrorResponse:
    """Return the error of a request that Bedrock rejects."""
    return ErrorResponse(400, "ValidationException", message)


def require_counting(model: str) -> None:
    """Raise `ErrorResponse` if Bedrock counts no tokens for this id: it does for Claude's alone."""
    if not _CLAUDE.match(model):
        raise invalid("The provided model doesn't support counting tokens.")


def validate_parameters(model: str, body: dict[str, Any]) -> None:
    """Raise `ErrorResponse` if Bedrock rejects a parameter for this model."""
    tier = body.get("serviceTier", {}).get("type", "default")
    if tier not in _TIERS or not re.search(_TIERS[tier], model):
        raise invalid(f"The service tier {tier} is not supported for this model.")
    _validate_effort(model, body.get("outputConfig", {}).get("effort"))
    _validate_limits(model, body.get("inferenceConfig", {}))
    metadata = body.get("requestMetadata", {})
    entries = [*metadata, *metadata.values()]
    if len(metadata) > MAX_METADATA or not all(_METADATA.fullmatch(text) for text in entries):
        raise invalid("requestMetadata: failed to satisfy constraint")
    _validate_cache_points(model, body)


def _validate_effort(model: str, effort: str | None) -> None:
    if effort is None:
        return
    if effort not in EFFORTS or not _TAKES_EFFORT.search(model):
        raise invalid("This model does not support the effort parameter.")
    if effort == "max" and not _TAKES_MAX.search(model):
        raise invalid("This model does not support this effort.")


def _validate_limits(model: str, limits: dict[str, Any]) -> None:
    stops = limits.get("stopSequences", [])
    if stops and _TAKES_NO_STOPS.search(model):
        raise invalid(
            "This model doesn't support the stopSequences field. Remove it and try again."
        )
    if len(stops) > MAX_STOPS:
        raise invalid("stopSequences: failed to satisfy constraint")
    most = next((most for part, most in _MAX_TOKENS if re.search(part, model)), None)
    if most is not None and limits.get("maxTokens", 0) > most:
        raise invalid(f"The maximum tokens you requested exceeds the model limit of {most}.")


def _validate_cache_points(model: str, body: dict[str, Any]) -> None:
    system = body.get("system")
    blocks = system if isinstance(system, list) else []  # a text in the body of InvokeModel
    points = [block["cachePoint"] for block in blocks if "cachePoint" in block]
    if points and not _CACHES_PROMPTS.search(model):
        raise invalid("This model does not support prompt caching.")
    if any(point.get("type") != "default" for point in points):
        raise invalid("cachePoint: failed to satisfy constraint")
    ttls = {point.get("ttl") for point in points}
    if not ttls <= CACHE_TTLS or ("1h" in ttls and not _CLAUDE.search(model)):
        raise invalid("cachePoint: this model does not support extended TTL")
