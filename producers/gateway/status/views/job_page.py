"""What the page of a job shows: its way through the fleet as a timeline, without its content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from forebay.producers.explain import doubt_maker
from forebay.producers.gateway.status.views.wording import moment, percent, span
from forebay.routing.base import model_and_revision
from forebay.routing.errors import counted, gist
from forebay.routing.ledger.record import ENDED, Record

Tone = Literal["plain", "good", "warn", "bad"]
LANES = {"local": "locally", "bedrock": "by Bedrock"}
_TONES: dict[str, Tone] = {"done": "good", "failed": "bad", "expired": "bad", "cancelled": "warn"}


class Step(NamedTuple):
    """One step of the timeline.

    Attributes:
        title: what happened.
        words: more about it; may be empty.
        code: the stable code of a decision; empty for other steps.
        details: further lines.
    """

    title: str
    words: str = ""
    code: str = ""
    tone: Tone = "plain"
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobPage:
    """A job, as its page shows it.

    Attributes:
        record: of the job.
        told: its explanation, as `forebay explain --json` prints it.
        steps: the timeline.
        queued_s, worked_s, total_s: seconds waited, seconds worked, and seconds since the submit.
    """

    record: Record
    told: dict[str, Any]
    steps: tuple[Step, ...]
    queued_s: float
    worked_s: float
    total_s: float

    @classmethod
    def of(cls, record: Record, told: dict[str, Any], now_ms: int) -> JobPage:
        """Make the page from the record and its explanation."""
        times = record.timings(now_ms)
        return cls(record, told, tuple(_steps(record, told)), **times)

    @property
    def tenant(self) -> str:
        """Whose job it is."""
        return self.record.id.partition(".")[0]

    @property
    def between_s(self) -> float:
        """Seconds between attempts: for a retry, or until a lost worker was noticed."""
        return max(0.0, self.total_s - self.queued_s - self.worked_s)

    @property
    def ended(self) -> bool:
        """True if nothing changes any more."""
        return self.record.state in ENDED

    @property
    def tone(self) -> Tone:
        """How the job stands."""
        if self.record.state == "done" and (self.told["made"] or {}).get("degraded"):
            return "warn"
        return _TONES.get(self.record.state, "plain")


def _steps(record: Record, told: dict[str, Any]) -> Iterator[Step]:
    """Yield the timeline, the first step first."""
    yield Step("Submitted", moment(record.created), details=_origin(record))
    if verdict := told["verdict"]:
        yield _verdict(verdict)
    for decision in told["decisions"]:
        if decision["code"] not in {record.error, record.state}:
            yield _decision(decision)
    if doubt := told["doubt"]:
        yield _doubt(doubt)
    if checks := told["checks"]:
        yield _checks(checks)
    yield _now(record, told)
    if audit := told["audit"]:
        yield Step("Audited", audit["note"], details=(f"{audit['state']}, {audit['id']}",))


def _origin(record: Record) -> tuple[str, ...]:
    leaves = "may leave the building" if record.egress == "allow" else "stays in the building"
    rows = (f"a shard of {counted(record.rows, 'row')}",) if record.rows else ()
    return (f"{record.kind}, {leaves}", *rows)


def _verdict(verdict: dict[str, Any]) -> Step:
    held = verdict["held"]
    limit = f", threshold {verdict['threshold']:.3f}" if held else ""
    words = f"{percent(verdict['probability'])} likely that the local answer will do"
    compared = f"its {held} decides{limit}" if held else "no threshold applies"
    gain = f"{verdict['score']:+.3f} to gain on Bedrock"
    return Step("Router's verdict", words, details=(gain, compared, f"by {verdict['version']}"))


def _decision(decision: dict[str, str]) -> Step:
    detail = f" ({decision['detail']})" if decision["detail"] else ""
    words = decision["meaning"] or gist(decision["code"]) or ""
    tone: Tone = "warn" if decision["code"] in {"check_failed", "unchecked"} else "plain"
    title = words[:1].upper() + words[1:]
    return Step(title or "Decided", "", f"{decision['code']}{detail}", tone)


def _doubt(doubt: dict[str, Any]) -> Step:
    limit = "" if doubt["threshold"] is None else f", threshold {doubt['threshold']:.3f}"
    words = f"{percent(doubt['probability'])} likely that the local answer is wrong{limit}"
    second = doubt["agreement"]
    agreed = () if second is None else (f"{percent(second)} agreement with {doubt['second']}",)
    return Step("Doubt", words, details=(*agreed, f"by {doubt_maker(doubt)}"))


def _checks(checks: list[dict[str, Any]]) -> Step:
    failed = [check for check in checks if not check["passed"]]
    notes = [f"{check['name']}: {check['note'] or 'failed'}" for check in failed]
    passed = ", ".join(check["name"] for check in checks if check["passed"])
    words = f"{len(checks) - len(failed)} of {len(checks)} passed"
    details = (*notes, *((f"passed: {passed}",) if passed else ()))
    return Step("Checks of the answer", words, tone="warn" if failed else "good", details=details)


def _now(record: Record, told: dict[str, Any]) -> Step:
    """Return the last step: how the job ended, or where it is."""
    tone = _TONES.get(record.state, "plain")
    if record.state not in ENDED:
        verb = "Waits in" if record.state == "waiting" else "Is worked in"
        error = record.error
        untried = "to be tried again" if error else "not tried yet"
        tries = f"attempt {record.attempts}" if record.attempts else untried
        held_up = (f"after {error}: {told['error_note'] or gist(error)}",) if error else ()
        return Step(f"{verb} {record.queue}", tries, tone=tone, details=held_up)
    ended = f"{moment(record.ended)}, {span((record.ended - record.created) / 1000)} in all"
    if made := told["made"]:
        marks = [name for name in ("degraded", "cached") if made[name]]
        marks += ["made by the mock of Bedrock"] if made["stand_in"] else []
        title = f"Answered {LANES[made['lane']]}" + (f" ({', '.join(marks)})" if marks else "")
        model = model_and_revision(made["model"], made["revision"])
        tone = "warn" if made["degraded"] else "good"
        return Step(title, ended, tone=tone, details=(model,))
    why = ": ".join(filter(None, (told["error_field"], told["error_note"])))
    title = {"failed": "Failed", "expired": "Expired", "cancelled": "Cancelled"}.get(
        record.state, "Ended"
    )
    code = told["error"] or ""
    words = gist(code) or ""
    return Step(title, ended, code, tone, tuple(filter(None, (words, why))))
