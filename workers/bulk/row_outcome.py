"""What becomes of a row in the local lane: its result, or the job that goes up to Bedrock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shards import RisingRow
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Check, Classification, Content
from forebay.workers.cascade.conclusion import answer_of, no_answer
from forebay.workers.cascade.stages import DecidedAnswer
from forebay.workers.runtime.attempt import Attempt

SCORE_DIGITS = 4  # of the labels' probabilities, of which there may be many

RowOutcome = RowResult | RisingRow


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
    return RowResult(
        status="done",
        content=_plain(answer.content),
        model=answer.model or "",
        revision=answer.revision or "",
        degraded=True,
        reasons=reasons,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        **_of_checks(answer.checks),
        doubt=round(answer.doubt.probability, SCORE_DIGITS) if answer.doubt else None,
    )


def outcome_of(decided: DecidedAnswer) -> RowOutcome:
    """Return the answer of a row, the job that it becomes, or its failure."""
    attempt, step = decided.attempt, decided.next_step
    if step.step == "escalate":
        return RisingRow(attempt.job, reasons_of(attempt, step.reasons), _own_answer(decided))
    if decided.answer.content is None:
        return failed(no_answer(decided), reasons=step.reasons)
    return _kept(decided, decided.answer.content)


def kept_answer(decided: DecidedAnswer) -> Answer:
    """Return the answer of a row that is kept."""
    answer = _own_answer(decided)
    assert answer is not None, "an answer that passed its checks has a content"
    return answer


def _own_answer(decided: DecidedAnswer) -> Answer | None:
    """Return the answer of a row as that of a job of its own; `None` if there is no content."""
    answer = answer_of(decided)
    return answer and answer.model_copy(update={"id": decided.attempt.job.id})


def _kept(decided: DecidedAnswer, content: Content) -> RowResult:
    first, raw, step, opinion = (
        decided.first, decided.answer.raw, decided.next_step, decided.opinion
    )  # fmt: skip
    checks, tokens_in, tokens_out = decided.answer.checks, first.tokens_in, first.tokens_out
    if opinion is not None:
        checks += opinion.checks
        tokens_in += sum([each.raw.tokens_in for each in opinion.all])
        tokens_out += sum([each.raw.tokens_out for each in opinion.all])
    return RowResult(
        status="done",
        content=_plain(content),
        model=raw.model,
        revision=raw.revision,
        degraded=decided.attempt.degraded or step.step != "keep",
        reasons=(*raw.reasons, *map(str, step.reasons)) if step.reasons else raw.reasons,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        **_of_checks(checks),
        doubt=round(step.doubt.probability, SCORE_DIGITS) if step.doubt else None,
    )


def _of_checks(checks: tuple[Check, ...]) -> dict[str, Any]:
    """Return the fields of a result that tell the checks of its answer."""
    passed = [each for each in checks if each.passed]
    fields: dict[str, Any] = {"checks": tuple([each.name for each in passed])}
    if len(passed) < len(checks):
        fields["failed"] = tuple([(each.name, each.note) for each in checks if not each.passed])
    if notes := [(each.name, each.note) for each in passed if each.note]:
        fields["notes"] = tuple(notes)
    return fields


def _plain(content: Content) -> dict[str, object]:
    """Return the content as JSON data without its kind, which is the shard's."""
    if isinstance(content, Classification):
        return of_label(content.label, content.probability, content.scores)
    return content.model_dump(mode="json", exclude={"kind"})


def of_label(label: str, sure: float | None, scores: Mapping[str, float]) -> dict[str, object]:
    """Return the content of a classification as JSON data without its kind."""
    return {
        "label": label,
        "probability": None if sure is None else round(sure, SCORE_DIGITS),
        "scores": {name: round(score, SCORE_DIGITS) for name, score in scores.items()},
    }


def reasons_of(attempt: Attempt, reasons: Iterable[str]) -> tuple[str, ...]:
    """Return why a row goes up, after the reasons of its shard."""
    return (*attempt.claim.record.reasons, *map(str, reasons))
