"""A request on its way through the step loop (`loop.py`)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from forebay.routing.base import changed
from forebay.routing.errors import ForebayError
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.engine import Completion, Prompt, TakeText

End = Completion | ForebayError


def _nobody(end: End) -> None:
    """Drop the end of a request that nobody waits for."""


def into(future: Future[Completion]) -> Callable[[End], None]:
    """Return what puts the end of a request into a future."""

    def put(end: End) -> None:
        if isinstance(end, Completion):
            future.set_result(end)
        else:
            future.set_exception(end)

    return put


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A request that waits for a slot or runs in the batch.

    Attributes:
        bulk: nobody waits for this request.
        rank: the order of admission: by priority, then by deadline; the lowest rank goes first.
        on_end: takes how the request ended. It must return at once, and raise nothing.
        stage: how far a waiting request is prepared; only `ready` requests are admitted.
        since: when the request was submitted, on the monotonic clock.
        began: when the request was admitted, on the monotonic clock.
        cut: why the request is cut short, if it is. If it yields, it waits again.
        yields: how often the request has yielded its slot.
        on_text: takes the text while it is generated, if anybody wants it.
    """

    prompt: Prompt
    on_text: TakeText | None = None
    on_end: Callable[[End], object] = _nobody
    stage: Literal["fresh", "preparing", "ready"] = "fresh"
    since: float = field(default_factory=time.monotonic)
    began: float = 0.0
    cut: Literal["cancelled", "deadline", "yields"] | None = None
    yields: int = 0
    bulk: bool = field(init=False)
    rank: tuple[int, float] = field(init=False)

    def __post_init__(self) -> None:
        priority, deadline = self.prompt.priority, self.prompt.deadline
        self.bulk = priority > 0
        self.rank = (priority, math.inf if deadline is None else deadline)

    def overdue(self, now: float) -> bool:
        """Return whether the deadline has passed at this Unix time."""
        return self.prompt.deadline is not None and now >= self.prompt.deadline

    def hand_out(self, text: str, tokens: Sequence[TokenLogprob] = ()) -> None:
        """Hand out new text and its tokens, if anybody wants them."""
        if self.on_text is not None and (text or tokens):
            self.on_text(text, tokens)

    def end_early(self, reason: Literal["cancelled", "deadline"]) -> None:
        """Cut the request short for good; the first reason stands."""
        if self.cut in {None, "yields"}:
            self.cut = reason

    def ended(self, end: End) -> End:
        """Return how the request ended, from what the generator says of its last run."""
        if not isinstance(end, Completion):
            return end
        finish = end.finish
        if finish == "cancelled" and self.cut == "deadline":
            finish = "deadline"
        return changed(end, finish=finish, queued_s=self.began - self.since)

    def unstarted(self) -> Completion:
        """Return the empty completion of a request that was never admitted."""
        return Completion(
            id=self.prompt.id,
            text="",
            tokens_in=0,
            tokens_out=0,
            finish="deadline" if self.cut == "deadline" else "cancelled",
            queued_s=time.monotonic() - self.since,
        )
