"""The faults that the mock plays: those that prompts ask for, queued ones, and others by chance."""

from __future__ import annotations

import random
import re
import threading
from collections import deque
from collections.abc import Iterable, Mapping

from mock_bedrock.modelled_errors import statuses, stream_errors
from mock_bedrock.protocol import ENDINGS, FAILURES
from mock_bedrock.spoiled import SPOILED

#: Faults of the connection. `protocol` has the error responses and the bad endings, `spoiled` the
#: answers with a malformed field.
CONNECTION_FAULTS = {
    "slow": "answer so many seconds later (1)",
    "hang": "stay silent for so many seconds (3,600), then close",
    "drop": "close without a byte",
    "half": "close in the middle of the answer",
}
FAULTS = {*FAILURES, *ENDINGS, *SPOILED, *CONNECTION_FAULTS}

#: What a prompt says that asks for a fault of its own, such as [[mock: slow:2.5]].
_ASKED = re.compile(r"\[\[mock: ([A-Za-z_]+(?::\d+(?:\.\d+)?)?)\]\]")

MODELLED_MESSAGE = "The mock of Bedrock was told to raise this error."


class Faults:
    """A plan of faults, by name or by the code of a modelled error.

    `name:2` also gives the seconds of the fault or of retry-after; of an error inside a stream, the
    number of events before it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.plan()

    def plan(
        self,
        queued: Iterable[str | None] = (),
        rates: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        """Replace the plan.

        Args:
            queued: the fault of each of the next calls; `None` is a good answer.
            rates: probability of each fault once nothing is queued.
            seed: seed of the random draws.

        Raises:
            ValueError: A fault does not exist, or the rates are no probabilities.
        """
        queue, odds = deque(queued), dict(rates or {})
        for name in (*queue, *odds):
            parsed(name)
        if sum(odds.values()) > 1 or min(odds.values(), default=0) < 0:
            raise ValueError("rates are probabilities and add up to at most 1")
        with self._lock:
            self._queue, self._rates, self._random = queue, odds, random.Random(seed)

    def next(self) -> str | None:
        """Return the fault of the next call; `None` is a good answer."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            point = self._random.random()
            for name, rate in self._rates.items():
                point -= rate
                if point < 0:
                    return name
            return None


def asked_for(prompt: str) -> str | None:
    """Return the fault that a prompt asks for: so the calls of one tenant alone can be slow."""
    asked = _ASKED.search(prompt)
    return asked[1] if asked else None


def parsed(fault: str | None) -> tuple[str, float | None]:
    """Return the name of a fault and its seconds. The name is empty for a good answer.

    Raises:
        ValueError: There is no such fault.
    """
    name, _, seconds = (fault or "").partition(":")
    if name and name not in FAULTS and not is_modelled(name):
        raise ValueError(f"no fault is called {name[:40]!r}; there are {', '.join(sorted(FAULTS))}")
    return name, float(seconds) if seconds else None


def is_modelled(name: str) -> bool:
    """Return whether botocore's service models list an error of this code."""
    return name in statuses() or name in stream_errors()


def failure(name: str) -> tuple[int, str, str] | None:
    """Return status, type and message of an error response; `None` if the fault is none."""
    if name in FAILURES:
        return FAILURES[name]
    status = statuses().get(name)
    return None if status is None else (status, name, MODELLED_MESSAGE)
