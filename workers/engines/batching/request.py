"""A request on its way through the loop of `batching.py`."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from forebay.workers.engines.engine import Completion, Prompt


@dataclass
class QueuedRequest:
    """A request, waiting or running.

    Attributes:
        stage: of one that waits; only what is ready is admitted.
        since: when it came, on the monotonic clock.
        queued_s: how long it waited, once it runs.
        cut: why it is to end before its time.
    """

    prompt: Prompt
    future: Future[Completion] = field(default_factory=Future)
    stage: Literal["fresh", "preparing", "ready"] = "fresh"
    since: float = field(default_factory=time.monotonic)
    queued_s: float = 0.0
    cut: Literal["cancelled", "deadline"] | None = None

    @property
    def rank(self) -> tuple[int, float]:
        """Who is next: priority, then the earliest deadline; the line itself is in order."""
        deadline = self.prompt.deadline
        return (self.prompt.priority, math.inf if deadline is None else deadline)

    def overdue(self, now: float) -> bool:
        """Whether its deadline has passed at this Unix time."""
        return self.prompt.deadline is not None and now >= self.prompt.deadline

    def unstarted(self) -> Completion:
        """The completion of a request that never reached the batch."""
        return Completion(
            id=self.prompt.id,
            text="",
            tokens_in=0,
            tokens_out=0,
            finish=self.cut or "cancelled",
            queued_s=time.monotonic() - self.since,
        )
