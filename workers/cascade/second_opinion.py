"""A second local answer to the same job, and what the two say together.

It runs in the same batch, or on the engine of another model, beside the first one where it is known
beforehand that it will be wanted, and after it else. It is never waited for where nothing can come
of it, and where it fails the first answer stands as it would have without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, Self

from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Check, Content, Generate, Generation, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.spillway import LOOK_EVERY_S
from forebay.routing.policy.escalation import MIN_AGREEMENT
from forebay.routing.store.ttl_cache import TtlCache
from forebay.workers.cascade.answerer import Answerer, PendingAnswer, RawAnswer
from forebay.workers.checks import agreement


class Wanted(Protocol):
    """Whether a second opinion is wanted of an answer that is free prose, or of one that is not."""

    def __call__(self, *, prose: bool) -> bool:
        """See above."""


class Backlog:
    """How many jobs wait, by queue, as of at most half a second ago."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._depths = TtlCache(self._look, LOOK_EVERY_S)

    def depth(self, queue: str) -> float:
        """Jobs waiting; without end where that is not known, so that nothing is added to them."""
        depths = self._depths()
        return math.inf if depths is None else depths.get(queue, 0)

    def _look(self) -> dict[str, int] | None:
        try:
            return self._ledger.depths()
        except ForebayError:
            return None


@dataclass(frozen=True, slots=True)
class Opinion:
    """A second answer, and how far it agrees with the first; none where it cannot be read."""

    made: RawAnswer
    agreement: float | None

    @property
    def check(self) -> tuple[Check, ...]:
        """What the receipt says of it."""
        if self.agreement is None:
            return ()
        note = f"agreement {self.agreement:.2f} with {self.made.model}"
        return (Check(name="second_opinion", passed=self.agreement >= MIN_AGREEMENT, note=note),)


class SecondOpinion:
    """The second opinion on one job: begun once, waited for once, cut short when not needed.

    Used as a context manager: inside it is under way, where it will be wanted whatever the first
    answer is.
    """

    def __init__(self, maker: Answerer, job: Job, prompt_id: str, wanted: Wanted) -> None:
        self._maker = maker
        self._job = job
        self._id = second_id(prompt_id)
        self._wanted = wanted
        wants = [wanted(prose=prose) for prose in _possible(job)]
        self._surely, self._perhaps = all(wants), any(wants)
        self._making: PendingAnswer | None = None

    def __enter__(self) -> Self:
        if self._surely:
            self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running."""
        if self._making is not None:
            self._maker.stop(self._id)

    def on(self, first: Content | None) -> Opinion | None:
        """The second opinion on this first answer; none where it is not wanted, or failed.

        Raises:
            Lost: It was cancelled: the job is not ours any more.
        """
        if self._making is None and self._perhaps and self._wanted(prose=_is_prose(first)):
            self._begin()
        if self._making is None:
            return None
        making, self._making = self._making, None
        try:
            made = making()
            return Opinion(made, self._agreement(first, made.content))
        except ForebayError:  # too long in these words, no room, too late: the first one stands
            return None

    def _begin(self) -> None:
        self._making = self._maker.begin_second(self._job, self._id)

    def _agreement(self, first: Content | None, second: Content | None) -> float | None:
        if first is None or second is None:
            return None
        return agreement.contents(first, second, self._maker.encoder)


def second_id(prompt_id: str) -> str:
    """The id of the second answer's prompt."""
    return f"{prompt_id}/2"


def _possible(job: Job) -> tuple[bool, ...]:
    """Whether the answer can be prose, and whether it can be anything else."""
    request = job.request
    free = isinstance(request, Generate) and request.schema_ is None and request.regex is None
    return (False, True) if free else (False,)


def _is_prose(content: Content | None) -> bool:
    return isinstance(content, Generation) and not agreement.decides(content.text)
