"""Second opinion: answer the same job again, and compare the two answers (self-consistency).

The second answer runs in the same batch, or on the engine of another model. It begins beside the
first answer if it will be wanted in any case, else after it. Nobody waits for it if it cannot
change the outcome. If it fails, the first answer stands. If two opinions are set, a third answer
comes beside the second: from the first model again, to other words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Protocol, Self

from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Content, Generate, Generation, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.policy.escalation import NextStep, is_unsure, wants_second
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.reasons import Reason
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.backlog import Backlog
from forebay.workers.cascade.check import check
from forebay.workers.cascade.stages import (
    CheckedAnswer,
    ComparedAnswer,
    DecidedAnswer,
    Opinion,
    PendingAnswer,
)
from forebay.workers.checks import bounded, final_answer
from forebay.workers.engines.engine import Completion
from forebay.workers.runtime.attempt import Attempt


class SecondOpinions:
    """Decides for one local worker which jobs are answered twice, by `escalation.wants_second`."""

    def __init__(
        self, ledger: Ledger, policy: PolicyFile, frontier: FrontierStatus, answerer: Answerer,
        *, third: bool = False,
    ) -> None:  # fmt: skip
        self._policy = policy
        self._frontier = frontier
        self._backlog = Backlog(ledger)
        self._answerer = answerer
        self._third = third

    def open(self, attempt: Attempt) -> SecondOpinion:
        """Return the second opinion on one job, which has not begun yet."""
        wanted = partial(self._wanted, attempt)
        return SecondOpinion(self._answerer, attempt, wanted, third=self._third)

    def may_want(self, attempt: Attempt) -> bool:
        """Return True if a job may be answered twice whose first answer is not there yet."""
        return any(self._wanted(attempt, prose=prose) for prose in _possible_forms(attempt.job))

    def wants(self, attempt: Attempt, first: Content | None) -> bool:
        """Return True if a job is to be answered twice whose first answer is there."""
        return self._wanted(attempt, prose=_is_prose(first))

    def open_wanted(self, attempt: Attempt) -> SecondOpinion:
        """Return a second opinion that is wanted; whoever asked calls `begin`."""
        return SecondOpinion(self._answerer, attempt, _not_by_itself, third=self._third)

    def _wanted(self, attempt: Attempt, *, prose: bool) -> bool:
        """Return True if this job is to be answered twice, now that its answer is prose or not."""
        if attempt.degraded or attempt.suspect or _is_of_one_model(attempt.job):
            return False
        job, record, policy = attempt.job, attempt.claim.record, self._policy.current()
        if not is_unsure(job, record.verdict, policy, prose=prose):
            return False
        depth = self._backlog.depth(record.queue) / self._answerer.info.slots
        state = self._frontier.state(job, policy)
        return wants_second(job, record.verdict, policy, state, depth=depth, prose=prose)


class Wanted(Protocol):
    """Tells whether a second opinion is wanted on an answer that is free prose, or that is not."""

    def __call__(self, *, prose: bool) -> bool:
        """Return True if it is wanted."""


def _not_by_itself(*, prose: bool) -> bool:  # noqa: ARG001 - it answers any form alike
    return False


class SecondOpinion:
    """The second opinion on one job: begun once, waited for once, cancelled if not needed.

    1. Enter it as a context manager, once the first answer has its slot: the second answer begins
       if it will be wanted in any case. Leaving the block cancels it. Or `begin` it, and go on once
       it is there.
    2. `compare` the first answer with the second.
    3. `rescue` a job that stays although its first answer failed the checks.

    Attributes:
        possible: it may be wanted.
    """

    def __init__(
        self, answerer: Answerer, attempt: Attempt, wanted: Wanted, *, third: bool = False
    ) -> None:
        self._answerer = answerer
        self._attempt = attempt
        self._wanted = wanted
        wishes = [wanted(prose=prose) for prose in _possible_forms(attempt.job)]
        self._certain, self.possible = all(wishes), any(wishes)
        self._pending: PendingAnswer | None = None
        self._takes_third = third
        self._third: PendingAnswer | None = None

    def __enter__(self) -> Self:
        if self._certain:
            self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running."""
        if self._pending is not None:
            self._answerer.cancel(self._attempt.second_prompt_id)
        if self._third is not None:
            self._answerer.cancel(self._attempt.third_prompt_id)

    def begin(self, then: Callable[[], object]) -> None:
        """Begin the second answer, and the third if one is taken.

        `then` is called from any thread once `compare` and `rescue` need not wait, also if the
        second answer cannot begin. It must return at once.
        """
        self._begin()
        begun = [each for each in (self._pending, self._third) if each is not None]
        _once_ended([each.generation for each in begun if each.generation is not None], then)

    def compare(self, answer: CheckedAnswer) -> ComparedAnswer:
        """Take the second opinion on an answer that passed its checks, if it is wanted.

        An answer that failed its checks is not compared: the job goes up if it may, and then the
        second answer is not worth the wait.

        Raises:
            Lost: The second answer was cancelled: the job is not ours any more.
        """
        opinion = self._take(answer.content) if answer.passed else None
        return ComparedAnswer(self._attempt, answer, opinion)

    def rescue(self, decided: DecidedAnswer) -> DecidedAnswer:
        """Put the second answer in the place of a failed first one, if the job stays.

        The second answer must pass its checks. If the job may go up, it goes: a second answer is
        not to be trusted if the first one was broken.

        Raises:
            Lost: The second answer was cancelled: the job is not ours any more.
        """
        first, step = decided.answer, decided.next_step
        if step.step == "escalate" or first.passed:
            return decided
        opinion = self._take(first.content)
        if opinion is None:
            return decided
        compared = decided._replace(opinion=opinion)
        second = check(self._attempt.job, opinion.raw)
        if not second.passed:
            return compared
        # The faults of the first answer stand before the reason why the job stays.
        reasons = (*step.reasons[:-1], Reason.SECOND_KEPT, step.reasons[-1])
        return compared._replace(answer=second, next_step=NextStep(step="keep", reasons=reasons))

    def _take(self, first: Content | None) -> Opinion | None:
        """Wait for the second answer; return `None` if it is not wanted, or failed."""
        if self._pending is None and self.possible and self._wanted(prose=_is_prose(first)):
            self._begin()
        if self._pending is None:
            return None
        pending, self._pending = self._pending, None
        try:
            raw = pending()
        except ForebayError:  # too long in these words, no slot, too late: the first one stands
            return None
        opinion = Opinion(raw, self._agreement(first, raw.content))
        return self._with_third(opinion, first)

    def _with_third(self, opinion: Opinion, first: Content | None) -> Opinion:
        """Wait for the third answer; without one, the second opinion stands alone."""
        pending, self._third = self._third, None
        if pending is None:
            return opinion
        try:
            raw = pending()
        except ForebayError:
            return opinion
        third = Opinion(raw, self._agreement(first, raw.content))
        together = self._agreement(opinion.raw.content, raw.content)
        return replace(opinion, third=third, together=together or 0.0)

    def _begin(self) -> None:
        attempt = self._attempt
        with suppress(ForebayError):  # no prompt can be made of other words: the first one stands
            self._pending = self._answerer.begin_second(attempt.job, attempt.second_prompt_id)
            if self._takes_third:
                self._third = self._answerer.begin_second(
                    attempt.job, attempt.third_prompt_id, own=True
                )

    def _agreement(self, first: Content | None, second: Content | None) -> float | None:
        if first is None or second is None:
            return None
        return bounded.contents(first, second, self._answerer.encoder)


def _once_ended(generations: Sequence[Future[Completion]], then: Callable[[], object]) -> None:
    """Call a function once all generations have ended."""
    if not generations:
        then()
        return
    first, *others = generations
    first.add_done_callback(lambda _: _once_ended(others, then))


def _is_of_one_model(job: Job) -> bool:
    """Return True if no other model may answer, or the probabilities of an answer are wanted."""
    return job.model is not None or job.wants_logprobs


def _possible_forms(job: Job) -> tuple[bool, ...]:
    """Return the values that `prose` can have for this job's answer."""
    request = job.request
    free = isinstance(request, Generate) and request.schema_ is None and request.regex is None
    return (False, True) if free else (False,)


def _is_prose(content: Content | None) -> bool:
    return isinstance(content, Generation) and not final_answer.decides(content.text)
