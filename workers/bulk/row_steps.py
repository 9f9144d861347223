"""One row of a shard on its way through the local lane: begun, checked, doubted, decided.

A row takes the steps of a job of its own, except that nobody gives a second opinion on it, it is
not recalled from the cache, and it is not audited: a bulk is a saturating load, and its rows are
answered once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Literal

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
from forebay.routing.jobs import Answer, Check, Classification, Content
from forebay.routing.logs import Event, event, place
from forebay.workers.cascade.answerer import Answerer, PendingAnswer
from forebay.workers.cascade.check import check
from forebay.workers.cascade.conclusion import answer_of, no_answer
from forebay.workers.cascade.doubting.doubt import Doubter
from forebay.workers.cascade.doubting.label_probabilities import LabelProbabilities
from forebay.workers.cascade.escalation import Escalator
from forebay.workers.cascade.long_texts import LongTexts
from forebay.workers.cascade.stages import (
    CheckedAnswer,
    ComparedAnswer,
    DecidedAnswer,
    DoubtedAnswer,
    RawAnswer,
)
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Escalated

log = logging.getLogger(__name__)

INTERNAL = "internal"  # the error of a row that broke the worker's code, as of such a job
SCORE_DIGITS = 4  # of the labels' probabilities, of which there may be many

RowOutcome = RowResult | RisingRow


class RowSteps:
    """The steps of one local worker for the rows of shards.

    An error that is about one row is the result of that row. Only what concerns the whole shard is
    raised: a lost claim, an engine that died, a part that cannot be reached now.
    """

    def __init__(
        self, answerer: Answerer, labels: LabelProbabilities, doubter: Doubter,
        escalator: Escalator, long_texts: LongTexts,
    ) -> None:  # fmt: skip
        self._long_texts = long_texts
        self._answerer = answerer
        self._labels = labels
        self._doubter = doubter
        self._escalator = escalator

    def finish(self, attempt: Attempt, pending: PendingAnswer, prompt_id: str) -> RowOutcome:
        """Wait for the answer of a row, and return what becomes of it.

        Raises:
            Lost: The shard is not this claim's any more.
            PassingError, EngineDied: The engine gave no answer now.
        """

        def steps() -> RowOutcome:
            try:
                return self._concluded(attempt, self._answer(attempt, pending, prompt_id))
            except InvalidJob as error:
                return self.without_answer(attempt, error)
            except Expired as error:
                return failed(error, status="expired")

        return isolated(attempt, steps)

    def conclude(self, attempt: Attempt, raw: RawAnswer) -> RowOutcome:
        """Check an answer and decide what becomes of its row; raise what `finish` raises."""
        return isolated(attempt, lambda: self._concluded(attempt, raw))

    def _concluded(self, attempt: Attempt, raw: RawAnswer) -> RowOutcome:
        checked = check(attempt.job, self._labels.calibrated(attempt.job, raw))
        decided = self._escalator.decide(self._doubted(attempt, checked))
        return _outcome(decided)

    def without_answer(self, attempt: Attempt, error: InvalidJob) -> RowOutcome:
        """Return what becomes of a row that the engine cannot do: it goes up, or fails."""
        outcome = self._escalator.without_answer(attempt, error)
        if isinstance(outcome, Escalated):
            return RisingRow(attempt.job, _reasons(attempt, outcome.reason.split(",")), None)
        return failed(error, reasons=outcome.reasons)

    def _answer(self, attempt: Attempt, pending: PendingAnswer, prompt_id: str) -> RawAnswer:
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
                return self._long_texts.answer(attempt, prompt_id, error)
            if error.field not in {"schema", "regex"}:
                raise
        again = self._answerer.begin(attempt.job, f"{prompt_id}/relaxed", best_effort=True)
        return again()

    def _doubted(self, attempt: Attempt, checked: CheckedAnswer) -> DoubtedAnswer:
        """Compute the doubt if the row may go up; a row that stays is kept in any case."""
        compared = ComparedAnswer(attempt, checked, None)
        if attempt.job.egress == "deny":
            return DoubtedAnswer(compared, None)
        return self._doubter.doubt(compared)


def isolated(attempt: Attempt, steps: Callable[[], RowOutcome]) -> RowOutcome:
    """Return what the steps of a row return, or the failure of the row if they break."""
    try:
        return steps()
    except (Lost, PassingError, EngineDied):
        raise
    except ForebayError as error:
        return failed(error)
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
    note = f"an error inside the worker ({type(error).__name__}), whose log says where"
    return RowResult(status="failed", reasons=(INTERNAL,), error=INTERNAL, error_note=note)


def failed(
    error: ForebayError,
    *,
    status: Literal["failed", "expired"] = "failed",
    reasons: tuple[str, ...] = (),
) -> RowResult:
    """Return the result of a row that has no answer."""
    return RowResult(
        status=status,
        reasons=(*reasons, error.code),
        error=error.code,
        error_field=getattr(error, "field", None),
        error_note=str(error),
    )


def of_answer(answer: Answer, reasons: tuple[str, ...]) -> RowResult:
    """Return a local answer as the degraded result of a row."""
    passed, not_passed = _split(answer.checks)
    return RowResult(
        status="done",
        content=_plain(answer.content),
        model=answer.model or "",
        revision=answer.revision or "",
        degraded=True,
        reasons=reasons,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        checks=passed,
        failed=not_passed,
        doubt=round(answer.doubt.probability, SCORE_DIGITS) if answer.doubt else None,
    )


def _outcome(decided: DecidedAnswer) -> RowOutcome:
    """Return the answer of a row, the job that it becomes, or its failure."""
    attempt, step = decided.attempt, decided.next_step
    if step.step == "escalate":
        draft = answer_of(decided)
        own = draft and draft.model_copy(update={"id": attempt.job.id})
        return RisingRow(attempt.job, _reasons(attempt, step.reasons), own)
    if decided.answer.content is None:
        return failed(no_answer(decided), reasons=step.reasons)
    return _kept(decided, decided.answer.content)


def _kept(decided: DecidedAnswer, content: Content) -> RowResult:
    raw, step = decided.answer.raw, decided.next_step
    passed, not_passed = _split(decided.answer.checks)
    return RowResult(
        status="done",
        content=_plain(content),
        model=raw.model,
        revision=raw.revision,
        degraded=decided.attempt.degraded or step.step != "keep",
        reasons=(*raw.reasons, *map(str, step.reasons)),
        tokens_in=raw.tokens_in,
        tokens_out=raw.tokens_out,
        checks=passed,
        failed=not_passed,
        doubt=round(step.doubt.probability, SCORE_DIGITS) if step.doubt else None,
    )


def _split(checks: tuple[Check, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    passed = tuple(each.name for each in checks if each.passed)
    return passed, tuple((each.name, each.note) for each in checks if not each.passed)


def _plain(content: Content) -> dict[str, object]:
    """Return the content as JSON data without its kind, which is the shard's."""
    if isinstance(content, Classification):
        scores = {name: round(score, SCORE_DIGITS) for name, score in content.scores.items()}
        sure = content.probability
        probability = None if sure is None else round(sure, SCORE_DIGITS)
        return {"label": content.label, "probability": probability, "scores": scores}
    return content.model_dump(mode="json", exclude={"kind"})


def _reasons(attempt: Attempt, reasons: Iterable[str]) -> tuple[str, ...]:
    return (*attempt.claim.record.reasons, *map(str, reasons))
