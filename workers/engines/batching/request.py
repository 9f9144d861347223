"""A request on its way through the step loop (`loop.py`)."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from forebay.workers.engines.engine import Completion, Prompt, TakeText


@dataclass
class QueuedRequest:
    """A request that waits for a slot or runs in the batch.

    Attributes:
        stage: how far a waiting request is prepared; only `ready` requests are admitted.
        since: when the request was submitted, on the monotonic clock.
        queued_s: seconds that the request waited, set when it is admitted.
        cut: why the request ends early, if it does.
        on_text: takes the text while it is generated, if anybody wants it.
    """

    prompt: Prompt
    on_text: TakeText | None = None
    future: Future[Completion] = field(default_factory=Future)
    stage: Literal["fresh", "preparing", "ready"] = "fresh"
    since: float = field(default_factory=time.monotonic)
    queued_s: float = 0.0
    cut: Literal["cancelled", "deadline"] | None = None

    @property
    def rank(self) -> tuple[int, float]:
        """The order of admission: by priority, then by deadline; the lowest rank goes first."""
        deadline = self.prompt.deadline
        return (self.prompt.priority, math.inf if deadline is None else deadline)

    def overdue(self, now: float) -> bool:
        """Return whether the deadline has passed at this Unix time."""
        return self.prompt.deadline is not None and now >= self.prompt.deadline

    def unstarted(self) -> Completion:
        """Return the empty completion of a request that was never admitted."""
        return Completion(
            id=self.prompt.id,
            text="",
            tokens_in=0,
            tokens_out=0,
            finish=self.cut or "cancelled",
            queued_s=time.monotonic() - self.since,
        )
