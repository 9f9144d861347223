"""Job types: jobs of a tenant that differ only in their text, and what audits showed of them.

Jobs of one type share kind, labels, questions, schema, instructions and limits. A type is known by
a digest under the fleet's secret, which reveals none of these.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import redis

from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Classify, Decide, Extract, Generate, Job, Summarize
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.ttl_cache import TtlCache

#: Shrinkage: after so many audits, the mean of a type counts for half.
SHRINKAGE = 20
#: How long the types of a tenant are cached.
LOOK_EVERY_S = 5.0

_DIGITS = 20  # hexadecimal digits of the digest: 80 bits


def digest(job: Job, secret: bytes) -> str:
    """Return the type of a job: a truncated HMAC-SHA256 of the fields that do not hold its text."""
    return _digest([job.tenant, job.kind, _fixed(job)], secret)


def question_digests(job: Job, secret: bytes) -> dict[str, str]:
    """Return a digest of each question of a job by its name, the same in jobs with other ones."""
    if not isinstance(job.request, Decide):
        return {}
    return {
        question.name: _digest([job.tenant, "question", question.model_dump()], secret)
        for question in job.request.questions
    }


def _digest(parts: list[Any], secret: bytes) -> str:
    canonical = json.dumps(parts, separators=(",", ":")).encode()
    return hmac.new(secret, canonical, hashlib.sha256).hexdigest()[:_DIGITS]


def _fixed(job: Job) -> Any:
    """Return the part of a request that stays the same when the text changes."""
    match job.request:
        case Classify(options=options):
            return [option.model_dump() for option in options]
        case Extract(schema_=schema):
            return schema
        case Summarize(max_words=words, focus=focus):
            return [words, focus]
        case Decide(questions=questions):
            return [question.model_dump() for question in questions]
        case Generate(messages=messages, schema_=schema, regex=regex):
            system = [message.content for message in messages if message.role == "system"]
            return [system, schema, regex]
        case _:
            return None


class TypeGaps:
    """By job type, how much larger than predicted the gap was in a tenant's audits.

    The types of a tenant are cached for some seconds. If Redis cannot be reached, the last values
    are used.
    """

    def __init__(self, client: redis.Redis, secret: bytes) -> None:
        self._redis = client
        self._secret = secret
        self._sums = TtlCache(self._read_sums, LOOK_EVERY_S)

    def excess(self, job: Job) -> float | None:
        """Return the mean of observed gap less predicted gap, or None without audits of the type.

        The mean is shrunk towards 0: with n audits it counts n / (n + SHRINKAGE).
        """
        try:
            sums = self._sums(job.tenant).get(digest(job, self._secret))
        except Unavailable:
            return None
        if sums is None:
            return None
        number, total = sums
        return total / (number + SHRINKAGE)

    def _read_sums(self, tenant: str) -> dict[str, tuple[float, float]]:
        with reaching_redis():
            values: Any = self._redis.hgetall(f"fb:types:{tenant}")
        return {name.decode(): _parsed(value) for name, value in values.items()}


def _parsed(value: bytes) -> tuple[float, float]:
    """Return number and sum as `learn.lua` wrote them; zeros if another program wrote them."""
    try:
        number, total, _ = (float(part) for part in value.split())
    except ValueError:
        return 0.0, 0.0
    return number, total
