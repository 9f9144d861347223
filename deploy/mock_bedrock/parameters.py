"""What Bedrock rejects in the parameters of a call, beside its messages; as far as is known."""

from __future__ import annotations

import re
from typing import Any

MAX_METADATA = 16
CACHE_TTLS = {None, "5m", "1h"}
EFFORTS = {"low", "medium", "high", "max"}

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
    effort = body.get("outputConfig", {}).get("effort")
    if effort is not None and (effort not in EFFORTS or not _TAKES_EFFORT.search(model)):
        raise invalid("This model does not support the effort parameter.")
    metadata = body.get("requestMetadata", {})
    entries = [*metadata, *metadata.values()]
    if len(metadata) > MAX_METADATA or not all(_METADATA.fullmatch(text) for text in entries):
        raise invalid("requestMetadata: failed to satisfy constraint")
    _validate_cache_points(model, body)


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
