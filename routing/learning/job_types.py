"""Types of jobs: what a tenant asks again and again, of ever other texts.

Jobs of one type share kind, labels, schema, instructions and limits; only the text differs. A type
is known by a digest under the fleet's secret, which betrays nothing of them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import redis

from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Classify, Extract, Generate, Job, Summarize
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.ttl_cache import TtlCache

#: Jobs that a type must have been seen for before its own mean counts for half.
SHRINK = 20
#: Seconds for which what was read of a tenant's types is good.
LOOK_EVERY_S = 5.0

_DIGITS = 20  # of the digest, hexadecimal: 80 bits


def digest(job: Job, secret: bytes) -> str:
    """The type of a job: HMAC-SHA256 of what it shares with others like it, truncated."""
    canonical = json.dumps([job.tenant, job.kind, _fixed(job)], separators=(",", ":")).encode()
    return hmac.new(secret, canonical, hashlib.sha256).hexdigest()[:_DIGITS]


def _fixed(job: Job) -> Any:
    """The part of a request that stays when the text changes."""
    match job.request:
        case Classify(options=options):
            return [option.model_dump() for option in options]
        case Extract(schema_=schema):
            return schema
        case Summarize(max_words=words, focus=focus):
            return [words, focus]
        case Generate(messages=messages, schema_=schema, regex=regex):
            system = [message.content for message in messages if message.role == "system"]
            return [system, schema, regex]
        case _:
            return None


class TypeGaps:
    """How much more than foretold the types of a tenant have lost locally, from its audits.

    Read at most every few seconds a tenant; where Redis cannot be asked, what was read last holds.
    """

    def __init__(self, client: redis.Redis, secret: bytes) -> None:
        self._redis = client
        self._secret = secret
        self._means = TtlCache(self._look, LOOK_EVERY_S)

    def excess(self, job: Job) -> float | None:
        """Mean of the gap seen less the gap foretold, shrunk to 0; none for a type never audited.

        With n audits the mean counts n / (n + SHRINK): a type is believed as it is seen.
        """
        try:
            seen = self._means(job.tenant).get(digest(job, self._secret))
        except Unavailable:
            return None
        return seen and seen[1] / (seen[0] + SHRINK)

    def _look(self, tenant: str) -> dict[str, tuple[float, float]]:
        with reaching_redis():
            found: Any = self._redis.hgetall(f"fb:types:{tenant}")
        return {name.decode(): _counted(value) for name, value in found.items()}


def _counted(value: bytes) -> tuple[float, float]:
    """Number and sum, as `learn.lua` writes them; nothing where somebody else wrote."""
    try:
        number, total, _ = (float(part) for part in value.split())
    except ValueError:
        return 0.0, 0.0
    return number, total
