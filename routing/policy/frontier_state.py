"""The state of the frontier, as a decision knows it: circuit breaker, budget, secret, pace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from forebay.routing.base import FrozenModel


class Pace(FrozenModel):
    """The pacing controller's decision about one job.

    Attributes:
        go: the job goes to Bedrock.
        threshold: the score that now separates jobs that go from jobs that stay. None if all
            jobs go or none does, or no scores are known yet.
    """

    go: bool
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class FrontierState:
    """The state of the frontier, as seen for one job.

    Attributes:
        spillway: the circuit breaker. A `shut` spillway is an open breaker: calls fail.
        budget_left_nusd: what is left of the job's tightest budget, in billionths of a dollar.
            None if there is no limit.
        secret: a secret was found in the job's content.
        pace: the pacing controller's decision, if a pace target is set. It replaces the
            thresholds.
    """

    spillway: Literal["open", "shut"] = "open"
    budget_left_nusd: int | None = None
    secret: bool = False
    pace: Pace | None = None
