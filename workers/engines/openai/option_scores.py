"""Scores of options from one constrained answer and the alternatives at each of its tokens.

The alternatives must be those that the constraint leaves, as vLLM tells them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of an answer, and the most probable tokens at its place with their logarithms."""

    text: bytes
    logprob: float
    top: Sequence[tuple[bytes, float]]


def option_scores(options: Sequence[str], tokens: Sequence[ScoredToken]) -> dict[str, float]:
    """Return the natural-log probability of each option; the probabilities add up to 1.

    Where an option leaves the path of the answer, it gets what the alternatives there give it. An
    alternative that several options begin with is shared out equally. An option that none of the
    alternatives begins gets the smallest of their probabilities.
    """
    texts = {option: json.dumps(option, ensure_ascii=False).encode() for option in options}
    scores: dict[str, float] = {}
    path, so_far = b"", 0.0
    for token in tokens:
        on_path = {option for option in texts if texts[option].startswith(path + token.text)}
        alive = list(texts.values())
        for option in texts.keys() - on_path:
            scores[option] = so_far + _leaving(texts[option], path, alive, token)
        texts = {option: text for option, text in texts.items() if option in on_path}
        path, so_far = path + token.text, so_far + token.logprob
    scores |= dict.fromkeys(texts, so_far)
    return normalised({option: scores[option] for option in options})


def _leaving(text: bytes, path: bytes, alive: Sequence[bytes], token: ScoredToken) -> float:
    """Return the log-probability with which the tokens at one place begin the rest of a text."""
    parts = [
        logprob - math.log(sum(other.startswith(path + start) for other in alive))
        for start, logprob in token.top
        if start and text.startswith(path + start)
    ]
    if parts:
        return _log_sum(parts)
    return min((logprob for _, logprob in token.top), default=token.logprob)


def normalised(scores: dict[str, float]) -> dict[str, float]:
    """Return natural-log probabilities that add up to 1."""
    total = _log_sum(list(scores.values()))
    return {option: score - total for option, score in scores.items()}


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
