"""Exact answers given again, for jobs that opt in.

Nothing crosses a tenant, an egress, a model or a revision: all of them, and the whole request, are
under the key's HMAC, so that a key betrays no content to who sees keys (logs, monitors, metrics)
without the secret. A cache that fails, for whatever reason, is a miss and never fails a job.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets

import redis
from pydantic import TypeAdapter, ValidationError

from forebay.routing.base import Egress, Tenant, explain
from forebay.routing.errors import ForebayError, Misconfigured
from forebay.routing.jobs import Answer, Generate, Job
from forebay.routing.reasons import Reason
from forebay.routing.settings import Settings
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.encryption import PLAIN, Seal

MAX_VALUE = 1_048_576  # bytes, sealed; larger answers are not kept
SECRET_KEY = "fb:cache-secret"  # noqa: S105 - the name of a key, not a secret

_FORM = 1  # of what is under the HMAC and of the value; a new one forgets all older answers
_MIN_SECRET = 16  # bytes
_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)
_log = logging.getLogger(__name__)


class AnswerCache:
    """Answers by (tenant, egress, model, revision, request), each for `ttl_s` seconds.

    `client` must return bytes (`decode_responses=False`).
    """

    def __init__(
        self, client: redis.Redis, secret: bytes, ttl_s: float, seal: Seal = PLAIN
    ) -> None:
        self._redis = client
        self._secret = secret
        self._seal = seal
        self._ttl_ms = max(1, int(ttl_s * 1000))

    def key(self, job: Job, egress: Egress, model: str, revision: str | None) -> str:
        """Where the answer to this job by this model would be."""
        request = job.request.model_dump(mode="json", by_alias=True)
        whole = [_FORM, job.tenant, egress, model, revision, request]
        # Not sorted: the order of a schema's fields can change what a model answers.
        canonical = json.dumps(whole, separators=(",", ":")).encode()
        digest = hmac.new(self._secret, canonical, hashlib.sha256).hexdigest()
        return f"fb:cache:{job.tenant}:{digest}"

    def get(self, job: Job, egress: Egress, model: str, revision: str | None) -> Answer | None:
        """An earlier answer, made this job's own: free, and marked as cached. None is a miss."""
        if not _repeatable(job):
            return None
        try:
            sealed = self._redis.get(self.key(job, egress, model, revision))
        except redis.RedisError as error:
            _log.warning("the answer cache cannot be read (%s)", type(error).__name__)
            return None
        found = self._opened(sealed) if isinstance(sealed, bytes) else None
        # The HMAC says so already; this holds against a value that was copied to another key.
        if found is None or _made_by(found) != (job.tenant, job.kind, model, revision):
            return None
        return _again(found, job, egress)

    def put(self, job: Job, egress: Egress, answer: Answer) -> bool:
        """Keep an answer, if it is one that may be given again. Says whether it was kept."""
        if answer.model is None or not (_repeatable(job) and _good(answer)):
            return False
        key = self.key(job, egress, answer.model, answer.revision)
        sealed = self._seal.close(answer.model_dump_json(by_alias=True).encode())
        if len(sealed) > MAX_VALUE:
            return False
        try:
            self._redis.set(key, sealed, px=self._ttl_ms)
            self._redis.set(f"fb:cached:{job.id}", key, px=self._ttl_ms)  # for `Ledger.forget`
        except redis.RedisError as error:  # out of memory, most likely: the answer still counts
            _log.warning("the answer cache cannot be written (%s)", type(error).__name__)
            return False
        return True

    def _opened(self, sealed: bytes) -> Answer | None:
        """The answer in a value; none where it is damaged, of an older form, or of another key."""
        try:
            return Answer.model_validate_json(self._seal.open(sealed))
        except (ValueError, ForebayError):
            return None

    def forget(self, tenant: str) -> int:
        """Remove all of a tenant's answers; returns how many. Walks all keys, in small steps.

        Raises:
            InvalidJob: That is no tenant's name.
            Unavailable: Redis cannot be reached.
        """
        try:
            _TENANT.validate_python(tenant)  # it becomes part of a glob pattern
        except ValidationError as error:
            raise explain(error) from None
        with reaching_redis():
            for pointer in self._redis.scan_iter(f"fb:cached:{tenant}.*", count=1_000):
                self._redis.unlink(pointer)
            keys = self._redis.scan_iter(f"fb:cache:{tenant}:*", count=1_000)
            return sum(self._redis.unlink(key) for key in keys)


def secret(client: redis.Redis, settings: Settings) -> bytes:
    """The secret of the cache's keys: the one that is set, or one made once and kept in Redis.

    Who can read a secret kept in Redis can test guesses of a content against keys; but can read
    the contents as well. So it protects keys that are seen outside Redis. Set FOREBAY_CACHE_KEY
    where a dump of Redis alone must not do for that. Another secret is an empty cache.

    Raises:
        Misconfigured: The one that is set is too short.
        Unavailable: Redis cannot be reached.
    """
    if settings.cache_key is not None:
        own = settings.cache_key.get_secret_value().encode()
        if len(own) < _MIN_SECRET:
            raise Misconfigured(f"must have {_MIN_SECRET} bytes", field="FOREBAY_CACHE_KEY")
        return own
    with reaching_redis():
        made = secrets.token_bytes(32)
        client.set(SECRET_KEY, made, nx=True)
        kept = client.get(SECRET_KEY)  # another process may have been first
    return kept if isinstance(kept, bytes) else made


def _repeatable(job: Job) -> bool:
    """The job opted in, and asking again would give the same answer."""
    request = job.request
    by_chance = isinstance(request, Generate) and request.temperature > 0 and request.seed is None
    return job.cache and not by_chance


def _good(answer: Answer) -> bool:
    second_rate = answer.degraded or answer.stand_in or answer.cached
    return answer.status == "done" and not (second_rate or answer.error)


def _made_by(answer: Answer) -> tuple[str, str, str | None, str | None]:
    return answer.id.partition(".")[0], answer.content.kind, answer.model, answer.revision


def _again(found: Answer, job: Job, egress: Egress) -> Answer:
    return found.model_copy(
        update={
            "id": job.id,
            "egress": egress,
            "cached": True,
            "reasons": (*found.reasons, Reason.CACHED.value),
            "tokens_in": 0,
            "tokens_out": 0,
            "cost_nusd": 0,
            "attempts": 0,
            "queued_s": 0.0,
            "worked_s": 0.0,
            "total_s": 0.0,
        }
    )
