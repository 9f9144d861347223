"""The tokens of an answer, as OpenAI's newer endpoints name them."""

from __future__ import annotations

from typing_extensions import TypedDict

from forebay.routing.jobs import Answer


class TokenUsage(TypedDict):
    """The tokens of an answer."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


def token_usage(answer: Answer) -> TokenUsage:
    """Return the tokens of an answer."""
    return {
        "input_tokens": answer.tokens_in,
        "input_tokens_details": {"cached_tokens": answer.tokens_cached, "cache_write_tokens": 0},
        "output_tokens": answer.tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.tokens_in + answer.tokens_out,
    }
