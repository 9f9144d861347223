"""The quantile by which an engine tells how sure a model was of its least sure tokens."""

from __future__ import annotations

from collections.abc import Sequence


def low_quantile(logprobs: Sequence[float]) -> float | None:
    """Return the 10 % quantile (nearest rank from below), or `None` for no values."""
    return sorted(logprobs)[(len(logprobs) - 1) // 10] if logprobs else None
