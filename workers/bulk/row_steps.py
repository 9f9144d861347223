"""One row of a shard on its way through the local lane: begun, checked, doubted, decided.

A row takes the steps of a job of its own, except that it is not recalled from the cache, and that
nobody waits for its second opinion: the row goes on once that is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shards import RisingRow
from forebay.routing.errors import (
    EngineDied,
    Expired,
    ForebayError,
    InvalidJob,
    Lost,
    PassingError,
    TooLong,
)
from forebay.routing.jobs import Classify
from forebay.routing.learning.audit_sampling import AuditSampler
from forebay.routing.logs import Event, event, place
from forebay.routing.tracing.spans import tracing
from forebay.workers.bulk.plain_labels import PlainLabels
from forebay.workers.bulk.row_opinions import RowOpinions
from forebay.workers.bulk.row_outcome import RowOutcome, failed, kept_answer, outcome_of, reasons_of
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.check import check
from forebay.workers.cascade.doubting.doubt import Doubter
from forebay.workers.cascade.doubting.label_probabilities import LabelProbabilities
from forebay.workers.cascade.escalation import Escalator
from forebay.workers.cascade.job_steps import CONSTRAINT_FIELDS
from forebay.workers.cascade.long_texts.long_texts import LongTexts
from forebay.workers.cascade.second_opinion import SecondOpinion
from forebay.workers.cascade.stages import (
    CheckedAnswer,
    ComparedAnswer,
    DecidedAnswer,
    DoubtedAnswer,
    PendingAnswer,
    RawAnswer,
)
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Escalated
from forebay.workers.runtime.retries import INTERNAL, note_of_defect

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WantsSecond:
    """A row whose first answer is there, and which goes on once a second one is there too.

    Attributes:
        attempt: the attempt at the row.
        second: the second opinion, which has not begun.
    """

    attempt: Attempt
    second: SecondOpinion
    _then: Callable[[], RowOutcome]

    def finish(self) -> RowOutcome | ForebayError:
        """Return what becomes of the row, or an error that is not about it; see `finish_all`."""
        return _held(lambda _: self._then(), self.attempt)


T = TypeVar("T")

#: The attempt at a row, and its first answer.
Row = tuple[Attempt, PendingAnswer]

#: What becomes of a row, or the error of its shard.
Concluded = RowOutcome | WantsSecond | ForebayError

#: How far a row has come.
Stage = RowOutcome | WantsSecond | DoubtedAnswer


class RowSteps:
    """The steps of one local worker for the rows of shards.

    An error that is about one row is the result of that row. Only what concerns the whole shard is
    raised: a lost claim, an engine that died, a part that cannot be reached now.
    """

    def __init__(
        self, answerer: Answerer, labels: LabelProbabilities, doubter: Doubter,
        escalator: Escalator, long_texts: LongTexts, opinions: RowOpinions, sampler: AuditSampler,
    ) -> None:  # fmt: skip
        self._opinions = opinions
        self._sampler = sampler
        self._long_texts = long_texts
        self._answerer = answerer
        self._labels = labels
        self._doubter = doubter
        self._escalator = escalator

    def plain_labels(self, attempt: Attempt) -> PlainLabels | None:
        """Return what makes results of plain labels, for the rows of the shard of this attempt.

        It is `None` if another step than the checks of a label may change what becomes of them.
        """
        job = attempt.job
        if (
            not isinstance(job.request, Classify) or job.egress != "deny"
            or attempt.degraded or tracing()
            or self._labels.corrects(job) or self._opinions.may_want(attempt)
        ):  # fmt: skip
            return None
        return PlainLabels.of(job.request, self._escalator.least_probability(job))

    def finish_all(self, rows: Sequence[Row]) -> list[Concluded]:
        """Wait for the first answers of rows of one shard, and return what becomes of each.

        An error that is not about its row stands in the place of the row: the shard is not this
        claim's any more (`Lost`), or the engine gave no answer now (`PassingError`, `EngineDied`).
        """
        second = bool(rows) and self._opinions.may_want(rows[0][0])
        ends: list[Concluded | DoubtedAnswer] = [
            _held(self._answered, attempt, pending, second) for attempt, pending in rows
        ]
        doubted = [(at, end) for at, end in enumerate(ends) if isinstance(end, DoubtedAnswer)]
        for (at, _), outcome in zip(
            doubted, self._decided_all([end for _, end in doubted]), strict=True
        ):
            ends[at] = outcome
        return cast("list[Concluded]", ends)

    def finish(self, attempt: Attempt, pending: PendingAnswer) -> RowOutcome | WantsSecond:
        """Wait for the first answer of a row, and return what becomes of the row.

        Raises:
            Lost: The shard is not this claim's any more.
            PassingError, EngineDied: The engine gave no answer now.
        """
        (end,) = self.finish_all([(attempt, pending)])
        if isinstance(end, ForebayError):
            raise end
        return end

    def conclude(self, attempt: Attempt, raw: RawAnswer) -> RowOutcome | WantsSecond:
        """Check an answer and decide what becomes of its row; raise what `finish` raises."""
        return self.finish(attempt, PendingAnswer(lambda: raw))

    def _answered(self, attempt: Attempt, pending: PendingAnswer, may_want_second: bool) -> Stage:  # noqa: FBT001 - passed on by `_held`
        """Wait for the first answer of a row, check it, and compute how much to doubt it."""
        try:
            raw = self._answer(attempt, pending)
            checked = check(attempt.job, self._labels.calibrated(attempt.job, raw))
        except InvalidJob as error:
            return self.without_answer(attempt, error)
        except Expired as error:
            return failed(error, status="expired")
        if not checked.passed:
            return self._rescued(attempt, checked)
        if may_want_second and (second := self._opinions.open(attempt, checked.content)):
            return WantsSecond(attempt, second, lambda: self._decided(second.compare(checked)))
        return self._doubted(ComparedAnswer(attempt, checked, None))

    def _decided_all(self, doubted: Sequence[DoubtedAnswer]) -> Iterator[Concluded]:
        """Decide on answers together, or each by itself if one of them breaks that."""
        try:
            decided = self._escalator.decide_all(doubted)
        except Exception:  # noqa: BLE001 - the decision on the row that broke it raises it again
            for one in doubted:
                yield _held(self._decided_alone, one.compared.attempt, one)
            return
        for each in decided:
            yield _held(self._ended, each.attempt, each)

    def _decided(self, compared: ComparedAnswer) -> RowOutcome:
        return self._decided_alone(compared.attempt, self._doubted(compared))

    def _decided_alone(self, attempt: Attempt, doubted: DoubtedAnswer) -> RowOutcome:
        return self._ended(attempt, self._escalator.decide(doubted))

    def _ended(self, attempt: Attempt, decided: DecidedAnswer) -> RowOutcome:
        """Return what becomes of a row; an answer that is kept may be audited."""
        if decided.next_step.step == "keep" and not attempt.degraded:
            self._sampler.take_row(attempt.claim, attempt.job, partial(kept_answer, decided))
        return outcome_of(decided)

    def _rescued(self, attempt: Attempt, checked: CheckedAnswer) -> RowOutcome | WantsSecond:
        """Decide on an answer that failed its checks; a row that stays may have a better second."""
        compared = ComparedAnswer(attempt, checked, None)
        decided = self._escalator.decide(DoubtedAnswer(compared, None))
        if decided.next_step.step != "escalate":
            second = self._opinions.open(attempt, checked.content)
            if second is not None:
                return WantsSecond(
                    attempt, second, lambda: self._ended(attempt, second.rescue(decided))
                )
        return outcome_of(decided)

    def without_answer(self, attempt: Attempt, error: InvalidJob) -> RowOutcome:
        """Return what becomes of a row that the engine cannot do: it goes up, or fails."""
        outcome = self._escalator.without_answer(attempt, error)
        if isinstance(outcome, Escalated):
            return RisingRow(attempt.job, reasons_of(attempt, outcome.reason.split(",")), None)
        return failed(error, reasons=outcome.reasons)

    def _answer(self, attempt: Attempt, pending: PendingAnswer) -> RawAnswer:
        """Wait for the answer. If its constraint cannot be enforced, enforce what can be.

        A text that is too long, and stays, is answered in parts.
        """
        try:
            return pending()
        except InvalidJob as error:
            outcome = self._escalator.without_answer(attempt, error)
            if isinstance(outcome, Escalated):
                raise
            if isinstance(error, TooLong):
                return self._long_texts.answer(attempt, attempt.prompt_id, error)
            if error.field not in CONSTRAINT_FIELDS:
                raise
        relaxed = f"{attempt.prompt_id}/relaxed"
        again = self._answerer.begin(attempt.job, relaxed, best_effort=True)
        return again()

    def _doubted(self, compared: ComparedAnswer) -> DoubtedAnswer:
        """Compute the doubt if it can change what becomes of the row, or what is said of it."""
        if compared.attempt.job.egress == "deny" and compared.opinion is None:
            return DoubtedAnswer(compared, None)
        return self._doubter.doubt(compared)


def isolated(attempt: Attempt, steps: Callable[[], T]) -> T | RowResult:
    """Return what the steps of a row return, or the failure of the row if they break.

    Raises:
        Lost, PassingError, EngineDied: It is not about this row.
    """
    end = _held(lambda _: steps(), attempt)
    if isinstance(end, ForebayError):
        raise end
    return end


def _held(steps: Callable[..., T], attempt: Attempt, *args: object) -> T | RowResult | ForebayError:
    """Return what the steps of a row return, or the failure of the row if they break.

    An error that is not about this row is returned as it is.
    """
    try:
        return steps(attempt, *args)
    except ForebayError as error:
        return error if isinstance(error, Lost | PassingError | EngineDied) else failed(error)
    except Exception as error:  # noqa: BLE001 - one row must not take hundreds of others along
        return _broken(attempt, error)


def _broken(attempt: Attempt, error: Exception) -> RowResult:
    """Log an exception that is not ours by type and place: its message may hold content."""
    log.error(
        "%s broke on a row of %s at %s",
        type(error).__name__,
        attempt.claim.id,
        place(error),
        extra=event(Event.JOB_BROKE, job=attempt.claim.id),
    )
    note = note_of_defect(error)
    return RowResult(status="failed", reasons=(INTERNAL,), error=INTERNAL, error_note=note)
