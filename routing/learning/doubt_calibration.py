"""What audits taught about the doubt: corrections by group, which are added up.

Each answer belongs to several groups, from its kind down to the type of its job. A group with few
audits is corrected little (shrinkage), so that the larger groups speak for it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from pydantic import ConfigDict, Field

from forebay.routing.base import FrozenModel, Kind
from forebay.routing.scoring.doubt_model import PLAIN
from forebay.routing.scoring.logit import logistic, logit

MAX_GROUPS = 500  # of one calibration
PLACES = 6  # decimals of a doubt
MAX_BOUNDS = 100  # of a group
MAX_LOG_ODDS = 4.0  # of the uncalibrated doubt, as an input

#: A doubt, and the most that may be wrong of the answers that a limit keeps which keeps this doubt.
Bound = tuple[float, float]
Correction = tuple[float, float, float]  # constant, per unit of log-odds, per unit of agreement


class DoubtCalibration(FrozenModel):
    """A correction of the doubt.

    Attributes:
        model: the version of the doubt model that it was fitted to. Doubts of other versions are
            not corrected.
        groups: by name of the group, what is added to the log-odds.
        bounds: by name of the largest group of an answer, rising doubts with their bounds.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    model: str
    groups: dict[str, Correction] = Field(max_length=MAX_GROUPS)
    bounds: dict[str, tuple[Bound, ...]] = Field(default_factory=dict, max_length=MAX_GROUPS)

    def fits(self, version: str) -> bool:
        """Return whether it corrects doubts of this version of the doubt model or plain rule."""
        return version in {self.model, PLAIN}

    def probability(self, base: float, agreement: float | None, groups: Sequence[str]) -> float:
        """Return the corrected probability that the answer is wrong."""
        known = [self.groups[name] for name in groups if name in self.groups]
        inputs = doubt_inputs(base, agreement)
        added = (w * x for weights in known for w, x in zip(weights, inputs, strict=True))
        return logistic(logit(base) + math.fsum(added))

    def bound(self, probability: float, groups: Sequence[str]) -> float | None:
        """Return what a limit on the doubt is compared with, to keep an answer with this doubt.

        With nine chances in ten, no more of the answers that are kept with a limit are wrong than
        the limit says. `None` if too few audits were made. Never less than the doubt itself.
        """
        bounds = self.bounds.get(groups[0], ())
        place = bisect_left(bounds, (round(probability, PLACES),))
        if not bounds:
            return None
        return max(probability, bounds[place][1] if place < len(bounds) else bounds[-1][1])


def doubt_inputs(base: float, agreement: float | None) -> Correction:
    """Return the inputs that a group's correction is multiplied with."""
    log_odds = max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, logit(base)))
    return 1.0, log_odds, 0.0 if agreement is None else agreement - 0.5


def doubt_groups(kind: Kind, model: str, second: str | None, job_type: str) -> tuple[str, ...]:
    """Return the groups of an answer, the largest first."""
    if second is None:
        return f"{kind} alone", f"type {job_type} alone"
    how = "own" if second == model else "other"
    return f"{kind} {how}", f"{kind} {model} by {second}", f"type {job_type} {how}"
