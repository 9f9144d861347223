"""Probabilities as log-odds, and back."""

from __future__ import annotations

import math

_FURTHEST = 30.0  # log-odds


def logit(probability: float) -> float:
    """Log-odds, kept within bounds."""
    bounded = min(1 - 1e-9, max(1e-9, probability))
    return math.log(bounded / (1 - bounded))


def logistic(log_odds: float) -> float:
    """The inverse of `logit`."""
    return 1 / (1 + math.exp(-max(-_FURTHEST, min(_FURTHEST, log_odds))))
