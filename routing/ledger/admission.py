"""The entry of a job into the ledger: the fields of a new record, repeats and refusals."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from forebay.routing import json_tree
from forebay.routing.errors import ForebayError, KeyReused, Unavailable
from forebay.routing.jobs import Decide, Embed, Generate, Job
from forebay.routing.store.connection import error_of

RETRY_AFTER_S = 30
MOVED_RETRY_AFTER_S = 1
MAX_JOBS_PER_RUN = 25  # of a script: one or two milliseconds of Redis' time
MAX_BYTES_PER_RUN = 256 * 1024  # of contents, unless one alone is larger
VECTOR_BYTES = 4 * 1024  # of a vector with 1024 numbers
ANSWER_BYTES = 1024  # of an answer in words, compressed
LOGPROB_BYTES = 24  # of a token and its probability
PROBABILITY_BYTES = 16  # of the probability of an option, besides the option's name


class NewJob(NamedTuple):
    """A job or a shard to be created.

    Attributes:
        content: sealed.
        fields: names and values of the record's fields that its producer gives.
        watcher: the stream to which its end is written; empty for none.
        key, digest: see `idempotency`.
    """

    id: str
    content: bytes
    fields: Sequence[str]
    watcher: str = ""
    key: str = ""
    digest: str = ""

    def as_args(self, before: NewJob | None) -> tuple[Any, ...]:
        """Return the arguments by which `create.lua` creates the job after another, if any.

        Most jobs of a batch differ from the one before in their ids and contents alone.
        """
        alike = before is not None and not self.key and self.watcher == before.watcher
        if alike and before is not None and self.fields == before.fields:
            return self.id, self.content, ""
        rest = self.key, self.digest, self.watcher
        return self.id, self.content, len(self.fields), *self.fields, *rest


def batch_args(batch: Sequence[NewJob]) -> list[Any]:
    """Return the arguments by which one run of `create.lua` creates the jobs of a batch."""
    args: list[Any] = []
    for before, job in zip([None, *batch], batch, strict=False):
        args += job.as_args(before)
    return args


def batched(jobs: Sequence[NewJob]) -> list[list[NewJob]]:
    """Return the jobs in batches, each for one run of the script.

    While a script runs Redis serves nobody else, and does not notice that its memory is full.
    """
    batches: list[list[NewJob]] = []
    room = 0
    for job in jobs:
        if not batches or len(batches[-1]) == MAX_JOBS_PER_RUN or len(job.content) > room:
            batches.append([])
            room = MAX_BYTES_PER_RUN
        batches[-1].append(job)
        room -= len(job.content)
    return batches


def spread(reply: Any, batch: Sequence[NewJob]) -> Sequence[Any]:
    """Return the reply for each job of a batch; the error of a run is that of all its jobs."""
    return [reply] * len(batch) if isinstance(reply, Exception) else reply


def envelope(job: Job, trace: str) -> list[str]:
    """Return names and values of the fields that scripts and workers need beside the content.

    Args:
        job: the new job.
        trace: the traceparent of its producer; empty if there is none.
    """
    fields = [
        "answer_bytes", str(answer_bytes(job)), "contract", str(job.contract),
        "kind", job.kind, "egress", job.egress, "priority", job.priority,
    ]  # fmt: skip
    if job.lane != "auto":  # a router has to find out who serves the model that a job names
        fields += "pin", "model" if job.model else job.lane
    if job.deadline:
        fields += "deadline", str(max(1, int(job.deadline.timestamp() * 1000)))
    if trace:
        fields += "traceparent", trace
    return fields


def answer_bytes(job: Job) -> int:
    """Return about how many bytes the answer of a job takes in Redis."""
    request = job.request
    if isinstance(request, Embed):
        return len(request.texts) * VECTOR_BYTES
    if isinstance(request, Decide):
        names = [name for question in request.questions for name in question.options]
        return ANSWER_BYTES + sum(len(name.encode()) + PROBABILITY_BYTES for name in names)
    if isinstance(request, Generate) and request.logprobs is not None:
        return ANSWER_BYTES + request.max_tokens * (1 + request.logprobs) * LOGPROB_BYTES
    return ANSWER_BYTES


def idempotency(job: Job, secret: bytes = b"") -> tuple[str, str]:
    """Return the Redis key and the digest by which a repeated submit is recognised.

    Neither reveals the job's content or its idempotency key to those who lack the secret. Without a
    secret, whoever can list keys can test guesses. Both are empty for a job without a key.

    Args:
        job: the job.
        secret: the fleet's secret, or empty. All producers of a tenant must have the same.
    """
    if job.idempotency_key is None:
        return "", ""
    name = _digest(secret, "name", job.tenant, job.idempotency_key)[:32]
    fields = job.model_dump(mode="json", by_alias=True, exclude={"id", "deadline", "stream"})
    _respell(fields["request"])
    # Sorted: the order in which a caller happened to write keys does not make another job.
    same = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return f"fb:idempotency:{job.tenant}:{name}", _digest(secret, "job", job.idempotency_key, same)


def _respell(request: dict[str, Any]) -> None:
    """Put the parts of a request that are JSON of the caller's own into their normal form."""
    if request.get("schema") is not None:
        request["schema"] = json_tree.normal_schema(request["schema"])
    if isinstance(request.get("state"), dict | list):
        request["state"] = json_tree.with_plain_numbers(request["state"])


def _digest(secret: bytes, *parts: str) -> str:
    message = json.dumps(["idempotency", *parts]).encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


class TenantMoved(Unavailable):
    """This fleet takes no more jobs of the tenant, which has moved to another fleet."""


def refusal(verb: str, detail: str) -> Unavailable | None:
    """Return why a script refused a new job, or `None` if its reply is no refusal.

    Args:
        verb: the first word of the script's reply.
        detail: the number or the name that follows it.
    """
    if verb == "moved":
        return TenantMoved(
            f"the jobs of this tenant belong to fleet {detail} now; set FOREBAY_FLEETS to a map of "
            "fleets that says so",
            retry_after=MOVED_RETRY_AFTER_S,
        )
    if verb == "full":
        return Unavailable(f"{detail} jobs are waiting already", retry_after=RETRY_AFTER_S)
    if verb == "memory":
        return Unavailable(f"{detail} % of Redis' memory is in use", retry_after=RETRY_AFTER_S)
    if verb == "promised":
        return Unavailable(
            "the answers to the waiting jobs would fill Redis' memory", retry_after=RETRY_AFTER_S
        )
    if verb == "quota":
        return Unavailable(
            f"the jobs of this tenant take {int(detail) / 2**20:.0f} MiB of Redis' memory, the "
            "share of one tenant (FOREBAY_TENANT_SHARE): wait until some end, or forget some",
            retry_after=RETRY_AFTER_S,
        )
    return None


def created(reply: Any) -> str | ForebayError:
    """Return the id in a reply of `create.lua`, or why the job was refused."""
    if isinstance(reply, Exception):
        return error_of(reply)
    verb, detail = (str(part.decode()) for part in reply[:2])
    if verb == "conflict":
        words = f"was used for another job, {detail}: send a new key with a new request"
        conflict = KeyReused(words, field="idempotency_key")
        conflict.job_id = detail
        return conflict
    return refusal(verb, detail) or detail


def is_confined(reply: Any) -> bool:
    """Return whether a reply of `create.lua` says that this user may not put a job into a lane."""
    return not isinstance(reply, Exception) and reply[2:] == [b"confined"]
