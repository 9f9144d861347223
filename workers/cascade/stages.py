"""The values that flow through the local lane, one after each step.

`Attempt` (`workers.runtime.attempt`) -> `RawAnswer` -> `CheckedAnswer` -> `ComparedAnswer` ->
`DoubtedAnswer` -> `DecidedAnswer` -> an outcome (`workers.runtime.outcomes`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from forebay.routing.jobs import Check, Content, Doubt
from forebay.routing.policy.escalation import MIN_AGREEMENT, NextStep
from forebay.routing.reasons import Reason
from forebay.workers.engines.engine import Completion, Ending
from forebay.workers.runtime.attempt import Attempt


@dataclass(frozen=True, slots=True)
class RawAnswer:
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


@dataclass(frozen=True, slots=True)
class PendingAnswer:
    """An answer that has been begun. Calling it waits for the answer and returns it.

    Attributes:
        generation: what the engine is doing, if it has begun and has not ended.
    """

    _finish: Callable[[], RawAnswer]
    generation: Future[Completion] | None = None

    def __call__(self) -> RawAnswer:
        """Wait for the answer and return it."""
        return self._finish()


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
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
    """A second answer.

    Attributes:
        agreement: with the first answer, 0 to 1; `None` if either cannot be read.
    """

    raw: RawAnswer
    agreement: float | None

    @property
    def checks(self) -> tuple[Check, ...]:
        """The check of the first answer that this opinion is, for the receipt."""
        if self.agreement is None:
            return ()
        note = f"agreement {self.agreement:.2f} with {self.raw.model}"
        return (Check(name="second_opinion", passed=self.agreement >= MIN_AGREEMENT, note=note),)


@dataclass(frozen=True, slots=True)
class ComparedAnswer:
    """A checked answer, and the second opinion on it if one was taken."""

    attempt: Attempt
    answer: CheckedAnswer
    opinion: Opinion | None


@dataclass(frozen=True, slots=True)
class DoubtedAnswer:
    """A compared answer, and how much to doubt it; `None` if it failed its checks."""

    compared: ComparedAnswer
    doubt: Doubt | None


@dataclass(frozen=True, slots=True)
class DecidedAnswer:
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
