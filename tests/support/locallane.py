"""Claims and answers for tests of single steps of the local lane."""

from __future__ import annotations

from forebay.routing.jobs import Extract, Extraction, Job, Verdict
from forebay.routing.ledger.ledger import Ledger
from forebay.workers.cascade.check import check
from forebay.workers.cascade.stages import ComparedAnswer, Opinion, RawAnswer
from forebay.workers.runtime.attempt import Attempt

BILL = "Bill total: 10 and not 9."
TOTAL = {
    "type": "object",
    "properties": {"total": {"type": ["number", "null"]}},
    "required": ["total"],
    "additionalProperties": False,
}
LIKELY = Verdict(probability=0.7, score=0.2, version="test")


def attempt_of(ledger: Ledger, *reasons: str, verdict=LIKELY, **options) -> Attempt:
    """Create a job, route it to the local lane for these reasons, and claim it there."""
    request = Extract(text=BILL, schema=TOTAL)
    job = Job(**{"egress": "allow", "request": request, **options})
    ledger.create([job])
    ledger.route(
        ledger.claim("route"), "local.default", job.egress, ",".join(reasons or ["verdict_easy"]),
        verdict,
    )  # fmt: skip
    return Attempt.of(ledger.claim("local.default"))


def raw(total: float | str | None, *, model: str = "m", tokens: int = 5) -> RawAnswer:
    """Return an answer as the engine generated it. A text as total cannot be parsed."""
    content = None if isinstance(total, str) else Extraction(data={"total": total})
    return RawAnswer(model, "r", 2 * tokens, tokens, content, low_logprob=-0.5)


def compared(attempt: Attempt, first: RawAnswer, opinion: Opinion | None = None) -> ComparedAnswer:
    """Return the answer with its checks, and with the second opinion if there is one."""
    return ComparedAnswer(attempt, check(attempt.job, first), opinion)
