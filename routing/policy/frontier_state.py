"""What is known of the frontier while a decision is made: breaker, budget, secret, pace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from forebay.routing.base import FrozenModel


class Pace(FrozenModel):
    """What the pacing controller says of one job.

    Attributes:
        go: the job goes up to Bedrock.
        threshold: the score that separates jobs that go from jobs that stay, just now. None if
            nothing does: all went, or nothing is known yet.
        aim: the share of jobs like this one that goes just now.
        rank: the share of recent scores that are higher than this job's.
    """

    go: bool
    threshold: float | None = None
    aim: float | None = None
    rank: float | None = None


@dataclass(frozen=True, slots=True)
class FrontierState:
    """The state of the frontier, as seen for one job.

    Attributes:
        spillway: the circuit breaker; `shut` while calls to Bedrock fail.
        budget_left_nusd: the least that is left of the budgets the job falls under, in billionths
            of a dollar. None if there is no limit.
        secret: a secret was found in the job's content.
        pace: what the pacing controller says of this job, if a pace target is set. It decides
            instead of the thresholds.
    """

    spillway: Literal["open", "shut"] = "open"
    budget_left_nusd: int | None = None
    secret: bool = False
    pace: Pace | None = None
