"""The bedrock lane of a fleet in one process: nothing leaves, and nothing is paid."""

from __future__ import annotations

from typing import Any

from forebay.routing.errors import BadAnswer, ForebayError
from forebay.routing.lanes import BEDROCK
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.receipts import Answer, Receipt
from forebay.testing.engine import ScriptedEngine
from forebay.workers.cascade.answerer import Answerer


class MockBedrockLane:
    """Settles the jobs that were routed to Bedrock with scripted answers, marked `stand_in`."""

    def __init__(self, ledger: Ledger, engine: ScriptedEngine) -> None:
        self._ledger = ledger
        self._engine = engine
        self._answerer = Answerer(engine)

    def answer_doorbell(self) -> None:
        """Claim the best job that waits for Bedrock, if any, and settle it."""
        claim = self._ledger.claim(BEDROCK)
        if claim is None:
            return
        try:
            receipt = self._answer(claim)
        except ForebayError as error:
            receipt = self._failure(claim, error)
        self._ledger.settle(claim, receipt)

    def _answer(self, claim: Claim) -> Receipt:
        job = claim.job()
        with self._engine.working(job.request):
            raw = self._answerer.begin(job, f"{claim.id}/{claim.token}")()
        if raw.content is None:
            raise BadAnswer("the script's answer does not fit the request")
        return Answer(
            **_heading(claim), status="done", lane="bedrock", stand_in=True, model=raw.model,
            revision=raw.revision, tokens_in=raw.tokens_in, tokens_out=raw.tokens_out,
            reasons=claim.record.reasons, content=raw.content,
        )  # fmt: skip

    def _failure(self, claim: Claim, error: ForebayError) -> Receipt:
        reasons = (*claim.record.reasons, error.code)
        return Receipt(
            **_heading(claim), status="failed", reasons=reasons, error=error.code,
            error_field=error.field, error_note=error.message or None,
        )  # fmt: skip


def _heading(claim: Claim) -> dict[str, Any]:
    record = claim.record
    return {
        "id": record.id, "kind": record.kind, "egress": record.egress, "verdict": record.verdict,
        "doubt": record.doubt, "attempts": record.attempts,
    }  # fmt: skip
