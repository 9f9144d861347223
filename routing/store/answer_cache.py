"""The answer cache: repeats the exact answer to an earlier request, for jobs that opt in.

An answer never crosses to another tenant, egress, model or revision: all of them, and the whole
request, enter an HMAC that is the key. Keys are seen in logs, monitors and metrics; without the
secret they reveal no content. If the cache fails, that is a miss, and never fails a job.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from typing import Any

import redis
from pydantic import TypeAdapter, ValidationError

from forebay.routing.base import Egress, Tenant, explain
from forebay.routing.errors import ForebayError, Unavailable
from forebay.routing.jobs import Answer, Generate, Job
from forebay.routing.logs import Event, event
from forebay.routing.reasons import Reason
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.encryption import PLAIN, Seal
from forebay.routing.store.scripts import run

MAX_VALUE_BYTES = 1_048_576  # sealed; larger answers are not kept

_VERSION = 1  # of the HMAC's input and of the value; a new version forgets all older answers
_KEYS_PER_SCAN = 1_000
_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)
_log = logging.getLogger(__name__)


class AnswerCache:
    """Answers by tenant, egress, model, revision and request, each kept for `ttl_s` seconds."""

    def __init__(
        self, client: redis.Redis, secret: bytes, ttl_s: float, seal: Seal = PLAIN
    ) -> None:
        """`client` must return bytes (`decode_responses=False`)."""
        self._redis = client
        self._secret = secret
        self._seal = seal
        self._ttl_ms = max(1, int(ttl_s * 1000))

    def key(self, job: Job, egress: Egress, model: str, revision: str | None) -> str:
        """Return the key of the answer to this job by this model."""
        request = job.request.model_dump(mode="json", by_alias=True)
        whole = [_VERSION, job.tenant, egress, model, revision, request]
        # Keys are not sorted: the order of a schema's fields can change what a model answers.
        canonical = json.dumps(whole, separators=(",", ":")).encode()
        digest = hmac.new(self._secret, canonical, hashlib.sha256).hexdigest()
        return f"fb:cache:{job.tenant}:{digest}"

    def get(self, job: Job, egress: Egress, model: str, revision: str | None) -> Answer | None:
        """Return an earlier answer as this job's own, free and marked as cached, or `None`."""
        if not _repeatable(job):
            return None
        try:
            sealed = self._redis.get(self.key(job, egress, model, revision))
        except redis.RedisError as error:
            _log.warning(
                "the answer cache cannot be read (%s)",
                type(error).__name__,
                extra=event(Event.CACHE_AWAY),
            )
            return None
        answer = self._answer(sealed, job, model, revision)
        return answer and _for_job(answer, job, egress)

    def read(
        self, sealed: Any, job: Job, egress: Egress, model: str, revision: str | None
    ) -> Answer | None:
        """Return the answer in the value of this job's key as that of the job that made it.

        It is free and marked as cached. `None` if the value holds no answer to this job.
        """
        answer = self._answer(sealed, job, model, revision) if _repeatable(job) else None
        return answer and _for_job(answer, job, egress).model_copy(update={"id": answer.id})

    def _answer(self, sealed: Any, job: Job, model: str, revision: str | None) -> Answer | None:
        answer = self._opened(sealed) if isinstance(sealed, bytes) else None
        # The HMAC ensures this already, except for a value that was copied to another key.
        if answer is None or _made_by(answer) != (job.tenant, job.kind, model, revision):
            return None
        return answer

    def put(self, job: Job, egress: Egress, answer: Answer) -> bool:
        """Keep an answer if it may be repeated, and return whether it was kept.

        The answer of a job that was forgotten meanwhile is not kept.
        """
        if answer.model is None or not (_repeatable(job) and _good(answer)):
            return False
        key = self.key(job, egress, answer.model, answer.revision)
        sealed = self._seal.close(answer.model_dump_json(by_alias=True).encode())
        if len(sealed) > MAX_VALUE_BYTES:
            return False
        try:
            return bool(run(self._redis, "cache", job.id, key, sealed, self._ttl_ms))
        except (redis.RedisError, Unavailable) as error:  # most likely Redis is out of memory
            _log.warning(
                "the answer cache cannot be written (%s)",
                type(error).__name__,
                extra=event(Event.CACHE_AWAY),
            )
            return False

    def _opened(self, sealed: bytes) -> Answer | None:
        """Return the answer in a value; `None` if it is damaged, or sealed with another key."""
        try:
            return Answer.model_validate_json(self._seal.open(sealed), extra="ignore")
        except (ValueError, ForebayError):
            return None

    def forget(self, tenant: str) -> int:
        """Remove all answers of a tenant, and return how many. Walks all keys, in small steps.

        Raises:
            InvalidJob: This is not the name of a tenant.
            Unavailable: Redis cannot be reached.
        """
        try:
            _TENANT.validate_python(tenant)  # the name becomes part of a glob pattern
        except ValidationError as error:
            raise explain(error) from None
        with reaching_redis():
            for pointer in self._redis.scan_iter(f"fb:cached:{tenant}.*", count=_KEYS_PER_SCAN):
                self._redis.unlink(pointer)
            keys = self._redis.scan_iter(f"fb:cache:{tenant}:*", count=_KEYS_PER_SCAN)
            return sum(self._redis.unlink(key) for key in keys)


def _repeatable(job: Job) -> bool:
    """Return whether the job opted in, and asking again would give the same answer."""
    request = job.request
    by_chance = isinstance(request, Generate) and request.temperature > 0 and request.seed is None
    return job.cache and not by_chance


def _good(answer: Answer) -> bool:
    second_rate = answer.degraded or answer.stand_in or answer.cached
    return answer.status == "done" and not (second_rate or answer.error)


def _made_by(answer: Answer) -> tuple[str, str, str | None, str | None]:
    return answer.id.partition(".")[0], answer.content.kind, answer.model, answer.revision


def _for_job(answer: Answer, job: Job, egress: Egress) -> Answer:
    return answer.model_copy(
        update={
            "id": job.id,
            "egress": egress,
            "cached": True,
            "reasons": (*answer.reasons, Reason.CACHED.value),
            "tokens_in": 0,
            "tokens_cached": 0,
            "tokens_out": 0,
            "cost_nusd": 0,
            "attempts": 0,
            "queued_s": 0.0,
            "worked_s": 0.0,
            "total_s": 0.0,
        }
    )
