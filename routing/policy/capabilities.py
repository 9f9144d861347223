"""What a model takes and offers, so that no call has a parameter that its model rejects.

The price list says it for each model (`can`). Of a model of which nothing is listed, only what its
family is known for is assumed: no effort, no cache.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

#: What a model can be asked to spend on an answer.
Effort = Literal["low", "medium", "high", "xhigh", "max"]

# From these versions on, Claude always reasons and rejects a temperature.
_CLAUDE = re.compile(r"claude-(opus|sonnet|haiku|fable)-(\d+)(?:-(\d{1,2})(?!\d))?")
_REASONS_FROM = {"opus": (4, 7), "sonnet": (5, 0), "haiku": (5, 5), "fable": (5, 0)}
_PREFILL_BEFORE = (4, 6)  # a later Claude rejects a chat that ends with the assistant's message


class Listed(BaseModel):
    """Base of the tables of the price list: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Capabilities(Listed):
    """What one model takes and offers.

    Attributes:
        context: tokens of prompt and answer together, at least; `None` if unknown.
        max_output: the largest `maxTokens` that it takes; `None` if unknown.
        temperature, top_p: whether it takes them; with `one_of_both`, only one of the two.
        stops: whether it takes stop sequences.
        prefill: its answer continues a last message of the assistant.
        reasons: it always reasons before it answers, which takes tokens of the answer.
        structured_output: it enforces a JSON Schema.
        efforts: the efforts that may be asked for, such as `low`.
        cache_from: tokens from which a prompt's beginning is cached; `None` without a cache.
        counts_tokens: the service tells how many tokens a prompt has.
    """

    context: int | None = Field(None, ge=1)
    max_output: int | None = Field(None, ge=1)
    temperature: bool = True
    top_p: bool = True
    one_of_both: bool = False
    stops: bool = True
    prefill: bool = False
    reasons: bool = False
    structured_output: bool = False
    efforts: tuple[Effort, ...] = ()
    cache_from: int | None = Field(None, ge=1)
    counts_tokens: bool = False

    def answer_tokens(self, wanted: int) -> int:
        """Return how many tokens an answer may be given, of those that are wanted."""
        return wanted if self.max_output is None else min(wanted, self.max_output)


def assumed(model: str) -> Capabilities:
    """Return what is assumed of a model of which nothing is listed."""
    is_claude = "anthropic." in model
    reasons = _always_reasons(model)
    return Capabilities(
        temperature=not reasons,
        top_p=not reasons,
        one_of_both=is_claude,
        stops="openai." not in model,
        prefill=is_claude and _claude_version(model) < _PREFILL_BEFORE,
        reasons=reasons,
        structured_output="amazon." not in model,
        counts_tokens=is_claude,
    )


def _always_reasons(model: str) -> bool:
    claude = _CLAUDE.search(model)
    return claude is not None and _claude_version(model) >= _REASONS_FROM[claude[1]]


def _claude_version(model: str) -> tuple[int, int]:
    """Return the version in a model's id; ids of the third generation are spelled otherwise."""
    claude = _CLAUDE.search(model)
    return (int(claude[2]), int(claude[3] or 0)) if claude else (3, 0)
