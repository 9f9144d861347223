"""What goes wrong next at the stand-in: those faults that were queued, then some by chance."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Iterable, Mapping

from mock_bedrock.protocol import ENDINGS, FAILURES

#: Faults beside those of `wire`.
CONNECTION_FAULTS = {
    "slow": "answer so much later (1 s)",
    "hang": "do not answer for so long (an hour), then close",
    "drop": "close without a byte",
    "half": "close in the middle of the answer",
}
FAULTS = {*FAILURES, *ENDINGS, *CONNECTION_FAULTS}


class Faults:
    """A plan of faults, by name; `name:2` also says how many seconds it takes or asks to wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.plan()

    def plan(
        self,
        queued: Iterable[str | None] = (),
        rates: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        """Forget the old plan.

        Args:
            queued: one for each of the next calls; none is a good answer.
            rates: probability of each fault, when nothing is queued.
            seed: of the dice.

        Raises:
            ValueError: No such fault, or no such probability.
        """
        queue, odds = deque(queued), dict(rates or {})
        for name in (*queue, *odds):
            parsed(name)
        if sum(odds.values()) > 1 or min(odds.values(), default=0) < 0:
            raise ValueError("rates are probabilities and add up to at most 1")
        with self._lock:
            self._queue, self._rates, self._dice = queue, odds, random.Random(seed)

    def next(self) -> str | None:
        """The fault of the next call."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            point = self._dice.random()
            for name, rate in self._rates.items():
                point -= rate
                if point < 0:
                    return name
            return None


def parsed(fault: str | None) -> tuple[str, float | None]:
    """Name and seconds of a fault.

    Raises:
        ValueError: There is no such fault.
    """
    name, _, number = (fault or "").partition(":")
    if name and name not in FAULTS:
        raise ValueError(f"no fault is called {name[:40]!r}; there are {', '.join(sorted(FAULTS))}")
    return name, float(number) if number else None
