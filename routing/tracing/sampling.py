"""Which jobs are traced: chosen by the id of their trace, so all processes choose the same jobs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from forebay.routing.errors import Misconfigured

SAMPLER, ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
#: The share of jobs that is traced unless the environment says otherwise: recording a job takes a
#: fifth of what workers of an echo engine take for it.
DEFAULT_RATIO = 0.02


@dataclass(frozen=True, slots=True)
class Sampling:
    """How jobs are chosen.

    Attributes:
        ratio: the share of traces that is recorded, from 0 to 1.
        follows_parent: a job whose producer traces is recorded if its producer's span is.
    """

    ratio: float
    follows_parent: bool = True

    def wants(self, job_id: str, given: str | None) -> bool:
        """Return whether the spans of a job are recorded.

        Args:
            job_id: the id of the job, whose end is that of its trace.
            given: the traceparent that the job's producer gave, if it gave one.
        """
        if given and self.follows_parent:
            return given[-1] in "13579bdf"  # the last bit of the flags says `sampled`
        trace_end = given[19:35] if given else job_id[-16:]
        return trace_end < _bound(self.ratio)  # as OpenTelemetry chooses


@cache
def _bound(ratio: float) -> str:
    """Return what the end of a trace's id, 16 hexadecimal digits, must be below."""
    below = round(ratio * (1 << 64))
    return f"{below:016x}" if ratio < 1 else "g"  # which is behind every digit


@cache
def sampling() -> Sampling:
    """Return how the environment has jobs chosen.

    Raises:
        Misconfigured: The share is no number from 0 to 1.
    """
    name = os.environ.get(SAMPLER, "").strip().lower()
    follows = not name or name.startswith("parentbased_")
    match name.removeprefix("parentbased_"):
        case "":
            return Sampling(_share(DEFAULT_RATIO))
        case "traceidratio":
            return Sampling(_share(1.0), follows)
        case "always_off":
            return Sampling(0.0, follows)
    return Sampling(1.0, follows)  # `always_on`, or a sampler of another package


def _share(default: float) -> float:
    """Return the share that the environment names."""
    text = os.environ.get(ARGUMENT, "").strip()
    try:
        share = float(text) if text else default
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise Misconfigured("must be a number from 0 to 1", field=ARGUMENT)
    return share
