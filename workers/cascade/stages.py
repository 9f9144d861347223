"""The values that flow through the local lane, one after each step.

`Attempt` (`workers.runtime.attempt`) -> `RawAnswer` -> `CheckedAnswer` -> `ComparedAnswer` ->
`DoubtedAnswer` -> `DecidedAnswer` -> an outcome (`workers.runtime.outcomes`). They are named tuples
because each row of a bulk makes one of each: a frozen dataclass costs three times as much to make.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from forebay.routing.jobs import Check, Content, Doubt
from forebay.routing.policy.escalation import MIN_AGREEMENT, NextStep
from forebay.routing.reasons import Reason
from forebay.workers.engines.engine import Completion, Ending
from forebay.workers.runtime.attempt import Attempt


class RawAnswer(NamedTuple):
    """The answer that an engine generated for a job, before it is checked.

    Attributes:
        content: `None` if the text cannot be read as an answer.
        tokens_cached: tokens of the prompt that the engine had read before.
        parts: into how many parts the job's text was cut; 1 for a text that fitted.
        low_logprob: 10 % quantile of the tokens' natural-log probabilities, if known.
    """

    model: str
    revision: str
    tokens_in: int
    tokens_out: int
    content: Content | None
    finish: Ending = "stop"
    low_logprob: float | None = None
    tokens_cached: int = 0
    parts: int = 1

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reason code of an answer that was made in parts."""
        return (f"{Reason.IN_PARTS}:{self.parts}",) if self.parts > 1 else ()


class PendingAnswer(NamedTuple):
    """An answer that has been begun. Calling it waits for the answer and returns it.

    Attributes:
        finish: does so.
        generation: what the engine is doing, if it has begun and has not ended.
    """

    finish: Callable[[], RawAnswer]
    generation: Future[Completion] | None = None

    def __call__(self) -> RawAnswer:
        """Wait for the answer and return it."""
        return self.finish()


class CheckedAnswer(NamedTuple):
    """An answer and the results of its checks.

    Attributes:
        content: `None` if the answer cannot be given to anybody, not even as a degraded one.
    """

    raw: RawAnswer
    content: Content | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """True if the answer passed all its checks."""
        return self.content is not None and all(check.passed for check in self.checks)


@dataclass(frozen=True, slots=True)
class Opinion:
    """A second answer, and a third one if two are taken.

    Attributes:
        agreement: with the first answer, 0 to 1; `None` if either cannot be read.
        third: another answer, which is compared with the first one too.
        together: how far second and third answer agree, 0 to 1; 1 if there is no third.
    """

    raw: RawAnswer
    agreement: float | None
    third: Opinion | None = None
    together: float = 1.0

    @property
    def all(self) -> tuple[Opinion, ...]:
        """This opinion, and the third answer's."""
        return (self, self.third) if self.third else (self,)

    @property
    def readable(self) -> tuple[Opinion, ...]:
        """The opinions whose agreement with the first answer is known."""
        return tuple(opinion for opinion in self.all if opinion.agreement is not None)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks of the first answer that these opinions are, for the receipt."""
        return tuple(
            Check(
                name="second_opinion", passed=agreement >= MIN_AGREEMENT,
                note=f"agreement {agreement:.2f} with {opinion.raw.model}",
            )
            for opinion in self.all
            if (agreement := opinion.agreement) is not None
        )  # fmt: skip


class ComparedAnswer(NamedTuple):
    """A checked answer, and the second opinion on it if one was taken."""

    attempt: Attempt
    answer: CheckedAnswer
    opinion: Opinion | None


class DoubtedAnswer(NamedTuple):
    """A compared answer, and how much to doubt it; `None` if it failed its checks."""

    compared: ComparedAnswer
    doubt: Doubt | None


class DecidedAnswer(NamedTuple):
    """An answer, and the policy's next step for it.

    Attributes:
        first: the first answer, as the engine generated it.
        answer: the answer to give, or to send along as a draft: the first one, or the second in
            its place.
    """

    attempt: Attempt
    first: RawAnswer
    answer: CheckedAnswer
    opinion: Opinion | None
    next_step: NextStep
