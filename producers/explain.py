"""Explain why a job went where it went, from its record alone: never a word of its content."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from forebay.routing.base import model_and_revision
from forebay.routing.errors import InvalidJob, gist
from forebay.routing.ledger.record import ENDED, Record
from forebay.routing.reasons import Reason, meaning
from forebay.routing.scoring.doubt_model import PLAIN

if TYPE_CHECKING:
    from forebay.routing.jobs import Doubt, Receipt, Verdict

#: The width of a line, and where its text begins.
COLUMNS, INDENT = 80, 12
_MARKS = {
    "degraded": "degraded", "cached": "from the cache", "stand_in": "by the mock of Bedrock",
}  # fmt: skip
_PACED = frozenset({Reason.PACE_GOES, Reason.PACE_STAYS})
_ABOUT_CHECKS = frozenset({Reason.CHECK_FAILED, Reason.UNCHECKED})
#: Reasons that hold before an answer, and again after it if it failed its checks.
_KEEPING = frozenset({Reason.EGRESS_DENIED, Reason.TENANT_FORCED_DENY, Reason.PINNED_LOCAL})
#: Whose answer a check is about.
LOCAL, SECOND, BEDROCK = "the local answer", "the second local answer", "Bedrock's answer"
_ERROR_FIELDS = ("error", "error_field", "error_note")
_ANSWER_FIELDS = (
    "lane", "model", "revision", "tokens_in", "tokens_out", "cost_usd", "degraded", "cached",
    "stand_in", "queued_s", "worked_s", "total_s",
)  # fmt: skip


def explanation(record: Record, audit: Record | None) -> dict[str, Any]:
    """Return what is known of a job's way as one JSON document.

    Args:
        record: the record of the job, in any state.
        audit: the record of the job's audit, if the job has one and it was not forgotten.
    """
    receipt = record.to_receipt() if record.state in ENDED else None
    reasons = receipt.reasons if receipt else record.reasons
    return {
        "id": record.id, "kind": record.kind, "egress": record.egress, "state": record.state,
        "hop": record.hop, "queue": record.queue, "attempts": record.attempts,
        "decisions": _decisions(reasons, record, receipt),
        "verdict": _verdict(record.verdict, reasons),
        "doubt": _doubt(receipt.doubt if receipt else record.doubt),
        "checks": _checks(receipt),
        "made": _answer(receipt),
        "error": record.error, "error_field": receipt.error_field if receipt else None,
        "error_note": receipt.error_note if receipt else record.error_note,
        "replay_of": record.replay_of, "replayed_as": record.replayed_as,
        "audit_of": record.audit_of, "audit": _audit(record, audit),
    }  # fmt: skip


def explanation_lines(document: dict[str, Any]) -> Iterator[str]:
    """Yield the same in words, line by line."""
    yield "{id}: {kind}, egress {egress}, {state}".format_map(document) + _whereabouts(document)
    yield from _lines("why", (_reason_line(decision) for decision in document["decisions"]))
    stays = document["decisions"][-1:] and document["decisions"][-1]["code"] == Reason.PACE_STAYS
    if verdict := document["verdict"]:
        yield from _lines("verdict", _verdict_lines(verdict, stays=bool(stays)))
    if doubt := document["doubt"]:
        yield from _lines("doubt", _doubt_lines(doubt, stays=bool(stays)))
    yield from _lines("checks", (_check_line(check) for check in document["checks"]))
    if answer := document["made"]:
        yield from _lines("answer", _answer_lines(answer, document["attempts"]))
    elif document["error"] and document["state"] not in ENDED:
        yield from _lines("held up", [_held_up(document)])
    if audit := document["audit"]:
        yield from _lines("audit", [_audit_line(audit)])
    links = {"replay of": "replay_of", "replayed as": "replayed_as", "audit of": "audit_of"}
    for name, key in links.items():
        if document[key]:
            yield from _lines(name, [document[key]])


def doubt_maker(doubt: dict[str, Any]) -> str:
    """Return what computed a doubt: a model or a rule, and the calibration that moved it."""
    return _named(str(doubt["version"]))


# --- the document --------------------------------------------------------------------------------


def _decisions(
    reasons: tuple[str, ...], record: Record, receipt: Receipt | None
) -> list[dict[str, Any]]:
    """Return each reason, and whose answer it is about if it is about a check of an answer.

    The ledger knows the reasons from before the last answer; that answer added the others.
    """
    from_bedrock = receipt is not None and receipt.lane == "bedrock"
    earlier = list(record.reasons) if from_bedrock else list(reasons)
    decisions: list[dict[str, Any]] = []
    for code in reasons:
        name, _, detail = code.partition(":")
        whose = None
        if name in _ABOUT_CHECKS:
            whose = LOCAL if code in earlier else BEDROCK
        if code in earlier:
            earlier.remove(code)
        words = meaning(code)
        if any(one["code"] == name and one["detail"] == detail for one in decisions) and not whose:
            words = f"{words}, so the job stayed in the local lane" if name in _KEEPING else words
        elif code == InvalidJob.code and receipt is not None:
            words = receipt.error_note or words
        decisions.append({"code": name, "detail": detail, "meaning": words, "whose": whose})
    return decisions


def _checks(receipt: Receipt | None) -> list[dict[str, Any]]:
    """Return the checks of the answer that the job has, each with whose answer it is."""
    if receipt is None:
        return []
    whose = BEDROCK if receipt.lane == "bedrock" else LOCAL
    if Reason.SECOND_KEPT in receipt.reasons:
        whose = SECOND
    if Reason.AUDIT in receipt.reasons:
        whose = LOCAL
    return [{**check.model_dump(), "whose": whose} for check in receipt.checks]


def _verdict(verdict: Verdict | None, reasons: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the verdict, and which of its two numbers was compared with the threshold."""
    if verdict is None:
        return None
    compared = "score" if _PACED.intersection(reasons) else "probability"
    return {**verdict.model_dump(), "held": compared if verdict.threshold is not None else None}


def _doubt(doubt: Doubt | None) -> dict[str, Any] | None:
    return doubt.model_dump() if doubt else None


def _limit(value: float, threshold: float | None, *, paced: bool) -> str:
    """Return what a number was compared with, in words.

    A job above the threshold of the pace stays if as many as the target allows have gone.
    """
    if threshold is None:
        return ""
    gone = " (but enough jobs had gone up for now)" if paced and value >= threshold else ""
    return f", threshold {threshold:.3f}{gone}"


def _answer(receipt: Receipt | None) -> dict[str, Any] | None:
    if receipt is None or receipt.lane is None:
        return None
    dumped = receipt.model_dump()
    return {name: dumped[name] for name in _ANSWER_FIELDS}


def _audit(record: Record, audit: Record | None) -> dict[str, Any] | None:
    if record.audited_as is None:
        return None
    if audit is None or audit.audit_of != record.id:
        return {"id": record.audited_as, "state": "gone", "note": "", "cost_usd": 0.0}
    receipt = audit.to_receipt() if audit.state in ENDED else None
    notes = [check.note for check in receipt.checks if check.name == "audit"] if receipt else []
    note = notes[0] if notes else ", ".join(audit.reasons if receipt is None else receipt.reasons)
    cost = receipt.cost_usd if receipt else 0.0
    return {"id": audit.id, "state": audit.state, "note": note, "cost_usd": cost}


# --- in words ------------------------------------------------------------------------------------


def _lines(name: str, lines: Any) -> Iterator[str]:
    for number, line in enumerate(lines):
        start = f"{'' if number else name:{INDENT}}"
        yield from wrap(
            line, COLUMNS, initial_indent=start, subsequent_indent=" " * (INDENT + 2),
            break_long_words=False, break_on_hyphens=False,
        ) or [start.rstrip()]  # fmt: skip


def _whereabouts(document: dict[str, Any]) -> str:
    if document["state"] not in ENDED:
        return f", {document['hop']} ({document['queue']}), attempt {document['attempts']}"
    error = ": ".join(filter(None, (document[key] for key in _ERROR_FIELDS)))
    return f" ({error})" if document["error"] else ""


def _held_up(document: dict[str, Any]) -> str:
    """Return the error after which a job is tried again."""
    note = document["error_note"] or gist(document["error"])
    return f"{document['error']}: {note}; it is tried again"


def _reason_line(decision: dict[str, Any]) -> str:
    detail = f" ({decision['detail']})" if decision["detail"] else ""
    words = decision["meaning"] or gist(decision["code"]) or "how it ended"
    if decision["whose"]:
        words = words.replace("the answer", decision["whose"])
    return f"{decision['code']}{detail}: {words}"


def _verdict_lines(verdict: dict[str, Any], *, stays: bool) -> Iterator[str]:
    probability, score = verdict["probability"], verdict["score"]
    by_score = verdict["held"] == "score"
    value = score if by_score else probability
    limit = _limit(value, verdict["threshold"], paced=stays and by_score)
    yield f"{probability:.3f} that the local answer will do{'' if by_score else limit}"
    yield f"{score:+.3f} to gain on Bedrock{limit if by_score else ''}"
    if verdict["features"]:
        yield ", ".join(f"{name} {value:+.3f}" for name, value in verdict["features"].items())
    yield f"by {_named(verdict['version'])}"


def _named(version: str) -> str:
    """Return the name of a model, or of the plain rule, and of the calibration that moved it."""
    model, _, calibration = version.partition("+")
    name = "the rule for answers without a second opinion" if model == PLAIN else model
    return f"{name}, moved by calibration {calibration}" if calibration else name


def _doubt_lines(doubt: dict[str, Any], *, stays: bool) -> Iterator[str]:
    limit = _limit(doubt["probability"], doubt["threshold"], paced=stays)
    yield f"{doubt['probability']:.3f} that the local answer is wrong{limit}"
    if "base" in doubt:
        yield f"{doubt['base']:.3f} before it was calibrated by audits"
    if "bound" in doubt:
        words = "the most of such answers that are wrong, by audits: `max_doubt` limits this"
        yield f"{doubt['bound']:.3f} {words}"
    if doubt["agreement"] is not None:
        agreed = f"{doubt['agreement']:.2f} agreement of the local answer with a second one"
        yield f"{agreed}, by {doubt['second']}"
    if "cascade" in doubt:
        yield f"{doubt['score']:.3f} rank of the local answer, by {doubt['cascade']}"
    yield f"by {doubt_maker(doubt)}"


def _check_line(check: dict[str, Any]) -> str:
    note = f" ({check['note']})" if check["note"] else ""
    verb = "passed" if check["passed"] else "failed"
    return f"{check['whose']} {verb} {check['name']}{note}"


def _answer_lines(answer: dict[str, Any], attempts: int) -> Iterator[str]:
    marks = [words for name, words in _MARKS.items() if answer[name]]
    model = model_and_revision(answer["model"], answer["revision"])
    yield ", ".join([f"{answer['lane']}: {model}".strip(), *marks])
    yield (
        f"{answer['tokens_in']} tokens in, {answer['tokens_out']} out, ${answer['cost_usd']:.6f}, "
        f"attempt {attempts}"
    )
    yield "queued {queued_s:.1f} s, worked {worked_s:.1f} s, in all {total_s:.1f} s".format_map(
        answer
    )


def _audit_line(audit: dict[str, Any]) -> str:
    note = f" ({audit['note']})" if audit["note"] else ""
    return f"{audit['state']}{note}, ${audit['cost_usd']:.6f}, {audit['id']}"
