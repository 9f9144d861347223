"""How a job enters the ledger: what its record begins with, how a repeat is known, refusals."""

from __future__ import annotations

import hashlib
import hmac

from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Embed, Job

RETRY_AFTER_S = 30
VECTOR_BYTES = 4 * 1024  # of a vector with 1024 numbers
ANSWER_BYTES = 1024  # of an answer in words, compressed


def envelope(job: Job) -> dict[str, str]:
    """Return the fields of a new job that scripts and workers need apart from its content."""
    return {
        "answer_bytes": str(answer_bytes(job)),
        "kind": job.kind,
        "egress": job.egress,
        "priority": job.priority,
        "deadline": str(max(1, int(job.deadline.timestamp() * 1000))) if job.deadline else "",
    }


def answer_bytes(job: Job) -> int:
    """Return about how many bytes the answer of a job takes in Redis."""
    request = job.request
    if isinstance(request, Embed):
        return len(request.texts) * VECTOR_BYTES
    return ANSWER_BYTES


def idempotency(job: Job) -> tuple[str, str]:
    """Return the Redis key and the digest by which a repeated submit is recognised.

    Neither reveals the job's content or its idempotency key. Both are empty for a job without one.
    """
    if job.idempotency_key is None:
        return "", ""
    name = hashlib.sha256(job.idempotency_key.encode()).hexdigest()[:32]
    same = job.model_dump_json(by_alias=True, exclude={"id", "deadline"})
    digest = hmac.new(job.idempotency_key.encode(), same.encode(), hashlib.sha256).hexdigest()
    return f"fb:idempotency:{job.tenant}:{name}", digest


def refusal(verb: str, detail: str) -> Unavailable | None:
    """Return why a script refused a new job, or `None` if its reply is no refusal.

    Args:
        verb: the first word of the script's reply.
        detail: the number that follows it.
    """
    if verb == "full":
        return Unavailable(f"{detail} jobs are waiting already", retry_after=RETRY_AFTER_S)
    if verb == "memory":
        return Unavailable(f"{detail} % of Redis' memory is in use", retry_after=RETRY_AFTER_S)
    if verb == "promised":
        return Unavailable(
            "the answers to the waiting jobs would fill Redis' memory", retry_after=RETRY_AFTER_S
        )
    return None
