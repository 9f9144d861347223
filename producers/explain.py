"""`forebay explain`: why a job went where it went, from its record alone; never its content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from forebay.routing.errors import gist
from forebay.routing.ledger.record import ENDED, Record
from forebay.routing.reasons import Reason, meaning

if TYPE_CHECKING:
    from forebay.routing.jobs import Doubt, Receipt, Verdict

_PACED = frozenset({Reason.PACE_GOES, Reason.PACE_STAYS})
_MADE = (
    "lane", "model", "revision", "tokens_in", "tokens_out", "cost_usd", "degraded", "cached",
    "stand_in", "queued_s", "worked_s", "total_s",
)  # fmt: skip


def explained(record: Record, audit: Record | None) -> dict[str, Any]:
    """What is known of a job's way, as one document.

    Args:
        record: of the job, in any state.
        audit: the record of its audit, where it has one that is still there.
    """
    receipt = record.to_receipt() if record.state in ENDED else None
    reasons = receipt.reasons if receipt else record.reasons
    return {
        "id": record.id, "kind": record.kind, "egress": record.egress, "state": record.state,
        "hop": record.hop, "queue": record.queue, "attempts": record.attempts,
        "decisions": [_decision(code) for code in reasons],
        "verdict": _verdict(record.verdict, reasons),
        "doubt": _doubt(receipt.doubt if receipt else record.doubt),
        "checks": [check.model_dump() for check in receipt.checks] if receipt else [],
        "made": _made(receipt),
        "error": record.error, "error_field": receipt.error_field if receipt else None,
        "replay_of": record.replay_of, "replayed_as": record.replayed_as,
        "audit_of": record.audit_of, "audit": _audit(record, audit),
    }  # fmt: skip


def told(document: dict[str, Any]) -> Iterator[str]:
    """The same in words, line by line."""
    yield "{id}: {kind}, egress {egress}, {state}".format_map(document) + _where(document)
    yield from _lines("why", (_reason(one) for one in document["decisions"]))
    if verdict := document["verdict"]:
        yield from _lines("verdict", _verdict_lines(verdict))
    if doubt := document["doubt"]:
        yield from _lines("doubt", _doubt_lines(doubt))
    yield from _lines("checks", (_check(one) for one in document["checks"]))
    if made := document["made"]:
        yield from _lines("answer", _made_lines(made, document["attempts"]))
    if audit := document["audit"]:
        yield from _lines("audit", [_audit_line(audit)])
    links = {"replay of": "replay_of", "replayed as": "replayed_as", "audit of": "audit_of"}
    for name, key in links.items():
        if document[key]:
            yield from _lines(name, [document[key]])


# --- the document --------------------------------------------------------------------------------


def _decision(code: str) -> dict[str, str]:
    name, _, detail = code.partition(":")
    return {"code": name, "detail": detail, "meaning": meaning(code)}


def _verdict(verdict: Verdict | None, reasons: tuple[str, ...]) -> dict[str, Any] | None:
    """The verdict, and which of its two numbers was held against the threshold."""
    if verdict is None:
        return None
    held = "score" if _PACED.intersection(reasons) else "probability"
    return {**verdict.model_dump(), "held": held if verdict.threshold is not None else None}


def _doubt(doubt: Doubt | None) -> dict[str, Any] | None:
    return doubt.model_dump() if doubt else None


def _made(receipt: Receipt | None) -> dict[str, Any] | None:
    if receipt is None or receipt.lane is None:
        return None
    dumped = receipt.model_dump()
    return {name: dumped[name] for name in _MADE}


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


# --- the words -----------------------------------------------------------------------------------


def _lines(name: str, lines: Any) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{'' if number else name:12}{line}"


def _where(document: dict[str, Any]) -> str:
    if document["state"] not in ENDED:
        return f", {document['hop']} ({document['queue']}), attempt {document['attempts']}"
    named = ": ".join(filter(None, (document["error"], document["error_field"])))
    return f" ({named})" if document["error"] else ""


def _reason(decision: dict[str, str]) -> str:
    detail = f" ({decision['detail']})" if decision["detail"] else ""
    said = decision["meaning"] or gist(decision["code"]) or "how it ended"
    return f"{decision['code']}{detail}: {said}"


def _verdict_lines(verdict: dict[str, Any]) -> Iterator[str]:
    limit = "" if verdict["held"] is None else f", threshold {verdict['threshold']:.3f}"
    of_chance, of_score = (limit, "") if verdict["held"] == "probability" else ("", limit)
    yield f"{verdict['probability']:.3f} that the local answer will do{of_chance}"
    yield f"{verdict['score']:+.3f} to gain on Bedrock{of_score}"
    if verdict["features"]:
        yield ", ".join(f"{name} {value:+.3f}" for name, value in verdict["features"].items())
    yield f"by {verdict['version']}"


def _doubt_lines(doubt: dict[str, Any]) -> Iterator[str]:
    limit = "" if doubt["threshold"] is None else f", threshold {doubt['threshold']:.3f}"
    yield f"{doubt['probability']:.3f} that the local answer is wrong{limit}"
    if doubt["agreement"] is not None:
        yield f"{doubt['agreement']:.2f} agreement with a second one, of {doubt['second']}"
    yield f"by {doubt['version']}"


def _check(check: dict[str, Any]) -> str:
    note = f" ({check['note']})" if check["note"] else ""
    return f"{check['name']} {'passed' if check['passed'] else 'failed'}{note}"


def _made_lines(made: dict[str, Any], attempts: int) -> Iterator[str]:
    marks = [name for name in ("degraded", "cached", "stand_in") if made[name]]
    yield ", ".join([f"{made['lane']}: {made['model']} {made['revision']}", *marks])
    yield (
        f"{made['tokens_in']} tokens in, {made['tokens_out']} out, ${made['cost_usd']:.6f}, "
        f"attempt {attempts}"
    )
    yield "queued {queued_s:.1f} s, worked {worked_s:.1f} s, in all {total_s:.1f} s".format_map(
        made
    )


def _audit_line(audit: dict[str, Any]) -> str:
    note = f" ({audit['note']})" if audit["note"] else ""
    return f"{audit['state']}{note}, ${audit['cost_usd']:.6f}, {audit['id']}"
