"""Jobs for tests of the ledger, and what workers make of them."""

from __future__ import annotations

from forebay.routing.jobs import Answer, Job, Receipt, Summarize, Summary, Verdict
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger

BELL = '{"id": "@RING@", "queue": "@QUEUE@", "task": "@TASK@"}'
SURE = Verdict(probability=0.9, version="test")


def job(tenant: str = "acme", **options) -> Job:
    """Make a job to summarize a text."""
    return Job(**{"tenant": tenant, "request": Summarize(text="a text to say shorter"), **options})


def answer(claim: Claim, text: str = "short", **options) -> Answer:
    """Make a local answer to a claimed job."""
    return Answer(
        id=claim.id, kind="summarize", egress=claim.record.egress, status="done", lane="local",
        content=Summary(text=text), **options,
    )  # fmt: skip


def failure(claim: Claim, error: str = "bad_answer") -> Receipt:
    """Make the receipt of a claimed job's failure."""
    egress = claim.record.egress
    return Receipt(id=claim.id, kind="summarize", egress=egress, status="failed", error=error)


def put(ledger: Ledger, *jobs: Job) -> list[str]:
    """Create jobs, none of which may be refused, and return their ids."""
    ids = ledger.create(list(jobs))
    assert all(isinstance(job_id, str) for job_id in ids), ids
    return ids


def walk(ledger: Ledger) -> int:
    """Let a sweeper walk once over all records; return how many jobs it repaired."""
    cursor, repaired, counted = ledger.repair(limit=100)
    while cursor:
        cursor, more, counted = ledger.repair(cursor, 100, counted)
        repaired += more
    return repaired
