"""How far a bulk is: what is over, how fast it goes, what it costs, and when it will be done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.routing.base import NANO

RATE_OVER_S = 60.0  # rows a second are a mean over the last minute


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a bulk is.

    Attributes:
        id: the id of the bulk.
        state: `running`, `paused`, `cancelled`, `done` or `incomplete`.
        fed: whether a process feeds it and writes its output. If none does, rows that the fleet has
            go on, and `forebay bulk resume` goes on with the rest.
        source, out: the names of the input and of the output.
        total: all rows of the source; `None` until it was read to its end.
        share: the part of the source whose rows are over, 0 to 1.
        rereading: after a resume, how much of what an earlier process read was read again, 0 to 1.
            New rows come after that. `None` if nothing has to be read again.
        sent: rows that were put on the ledger.
        over: rows that have ended, bad rows included.
        written: rows whose results are in the output.
        bad: rows that could not be read as requests.
        done, failed, expired, cancelled: rows by how they ended. These counts and those below are
            read about once a second, so they may be behind `over` and `written`.
        local, bedrock: rows by the lane of their answer.
        mock: rows that the mock of Bedrock answered: what these cost is no money.
        up: rows that wait for an answer from Bedrock.
        degraded: rows whose answer is degraded.
        rows_per_s: rows that ended in a second, over the last minute; `None` if not known yet.
        left_s: seconds until all rows are over, at this rate; `None` if not known yet.
        spent_usd, reserved_usd: dollars of settled calls, and of calls under way or without an end
            that is known: an answer whose connection was cut counts at its worst case.
        projected_usd: what the whole will have cost, at this rate.
        max_usd: the budget of the bulk, or `None`.
        checks: how many answers failed each check, the most frequent first.
        errors: how many rows failed for each reason.
        jobs_ahead: jobs that wait in the fleet's queues and go before rows of bulks.
        deadline: seconds since 1970 by which rows must be answered, or `None`.
    """

    id: str
    state: str
    fed: bool = True
    source: str = ""
    out: str = ""
    total: int | None = None
    share: float | None = None
    rereading: float | None = None
    sent: int = 0
    over: int = 0
    written: int = 0
    bad: int = 0
    done: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    local: int = 0
    bedrock: int = 0
    mock: int = 0
    up: int = 0
    degraded: int = 0
    rows_per_s: float | None = None
    left_s: float | None = None
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    projected_usd: float | None = None
    max_usd: float | None = None
    checks: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    jobs_ahead: int = 0
    deadline: float | None = None

    @property
    def in_time(self) -> bool | None:
        """Whether the bulk will be done by its deadline, at this rate; `None` if not known."""
        if self.deadline is None or self.left_s is None:
            return None
        return time.time() + self.left_s <= self.deadline


class Rate:
    """Rows a second over the last minute, from readings of a counter."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()

    def add(self, over: int, now: float | None = None) -> None:
        """Note how many rows are over now."""
        now = time.monotonic() if now is None else now
        self._readings.append((now, over))
        while len(self._readings) > 2 and now - self._readings[1][0] > RATE_OVER_S:  # noqa: PLR2004
            self._readings.popleft()

    def __call__(self) -> float | None:
        """Return the rate; `None` if it is not known yet."""
        if len(self._readings) < 2:  # noqa: PLR2004 - a rate needs two readings
            return None
        (begin, first), (end, last) = self._readings[0], self._readings[-1]
        return (last - first) / (end - begin) if end > begin else None


def usd(nusd: int) -> float:
    """Return billionths of a dollar in dollars."""
    return nusd / NANO
