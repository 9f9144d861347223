"""Tokens, as OpenAI's newer endpoints name them."""

from __future__ import annotations

from typing_extensions import TypedDict


class TokenUsage(TypedDict):
    """The tokens of an answer, or of all answers of a batch."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


def token_usage(tokens_in: int, tokens_out: int, cached: int = 0) -> TokenUsage:
    """Return the tokens that were read, of which some were cached, and those that were written."""
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens_in + tokens_out,
    }
