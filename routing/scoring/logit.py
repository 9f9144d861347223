"""Convert probabilities to log-odds and back."""

from __future__ import annotations

import math

_MAX_LOG_ODDS = 30.0


def logit(probability: float) -> float:
    """Return the log-odds of a probability, bounded away from infinity."""
    bounded = min(1 - 1e-9, max(1e-9, probability))
    return math.log(bounded / (1 - bounded))


def logistic(log_odds: float) -> float:
    """Return the probability of log-odds; the inverse of `logit`."""
    return 1 / (1 + math.exp(-max(-_MAX_LOG_ODDS, min(_MAX_LOG_ODDS, log_odds))))
