"""How long the jobs of others took during a storm, beside the same jobs without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from books.recovery import percentile
from storms.neighbours import Timing

BAR = 2.0  # times the undisturbed p95
MIN_JOBS = 20  # in a window, so that its p95 is one of several slow jobs
QUIET_S = 2.5  # an undisturbed p95 above this tells that the machine is too busy to measure


@dataclass(frozen=True, slots=True)
class Windows:
    """The times of a trial, in Unix seconds: when nothing was wrong, and during the storm."""

    calm: tuple[tuple[float, float], ...]
    storm: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The latency of one lane's jobs, in seconds, undisturbed and beside the storm."""

    lane: str
    calm: tuple[float, ...]
    storm: tuple[float, ...]

    @classmethod
    def of(cls, lane: str, timings: Iterable[Timing], windows: Windows) -> Comparison:
        """Sort the jobs of a lane by when they were due."""
        mine = [timing for timing in timings if timing.lane == lane]
        calm = (t.seconds for t in mine if any(_in(t, window) for window in windows.calm))
        return cls(lane, tuple(calm), tuple(t.seconds for t in mine if _in(t, windows.storm)))

    @property
    def ratio(self) -> float:
        """How many times longer the slowest twentieth takes beside the storm."""
        return percentile(self.storm, 0.95) / max(percentile(self.calm, 0.95), 1e-9)

    @property
    def fault(self) -> str:
        """The reason why the bar is not known to be met; empty if it is met."""
        if min(len(self.calm), len(self.storm)) < MIN_JOBS:
            return f"{self.lane}: too few jobs to compare"
        if percentile(self.calm, 0.95) > QUIET_S:
            return f"{self.lane}: the machine is too busy to measure this"
        return f"{self.lane}: x {self.ratio:.2f}" if self.ratio > BAR else ""

    def __str__(self) -> str:
        parts = (_spread(self.calm), _spread(self.storm))
        return f"{self.lane}: {parts[0]} undisturbed, {parts[1]} beside it: x {self.ratio:.2f}"


def _spread(seconds: Sequence[float]) -> str:
    half, most = (percentile(seconds, share) for share in (0.5, 0.95))
    return f"p50 {half:.2f} s, p95 {most:.2f} s ({len(seconds)} jobs)"


def _in(timing: Timing, window: tuple[float, float]) -> bool:
    return window[0] <= timing.due < window[1]
