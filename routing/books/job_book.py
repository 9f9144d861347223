"""The book of jobs: what the jobs of each hour came to, in counts that outlive their records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import redis

from forebay.routing.store.connection import decoded, reaching_redis

HOUR_S = 3_600
#: Counts of one hour. Past it, tenants that are new in this hour are counted together.
MAX_FIELDS = 20_000
OTHERS = "(others)"
_READ_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class JobGroup:
    """What the jobs that are counted together have in common.

    Attributes:
        egress: `deny` if the content had to stay in the building when the job ended.
        state: how they ended.
        lane: where they were answered; empty without an answer.
        stand_in: the mock of Bedrock answered, so their cost is no money.
    """

    tenant: str
    kind: str
    egress: str
    state: str
    lane: str = ""
    model: str = ""
    stand_in: bool = False


class Count(NamedTuple):
    """One count of an hour: what was counted, of whom, and how often.

    Attributes:
        hour_s: when the hour began, in Unix seconds.
        what: `job`, `up` (why jobs went up), `check` (that failed), or `audit`.
        of: the values by which it was counted.
        number: the count.
    """

    hour_s: int
    what: str
    of: tuple[Any, ...]
    number: int


class JobBook:
    """Counts the jobs of one Redis, by hour."""

    def __init__(self, client: redis.Redis, days: int = 35) -> None:
        self._redis = client
        self._keep_s = days * 86_400

    def add(self, counts: Mapping[str, int], at_s: float) -> None:
        """Add counts, by the names that the functions below give, to the hour of a moment.

        Raises:
            Unavailable: Redis cannot be reached. Some may have been added.
        """
        hour = int(at_s) // HOUR_S * HOUR_S
        key = f"fb:books:jobs:{hour}"
        with reaching_redis():
            full = int(self._redis.hlen(key)) > MAX_FIELDS
            pipe = self._redis.pipeline(transaction=False)
            for name, number in counts.items():
                pipe.hincrby(key, _without_tenant(name) if full else name, number)
            pipe.expireat(key, hour + self._keep_s)
            pipe.execute()

    def read(self, since_s: float, until_s: float) -> Iterator[Count]:
        """Yield the counts of all hours that lie in a span of time, wholly or in part.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        hours = list(range(int(since_s) // HOUR_S * HOUR_S, int(until_s) + 1, HOUR_S))
        hours = hours[-self._keep_s // HOUR_S - 1 :]
        for start in range(0, len(hours), _READ_AT_ONCE):
            page = hours[start : start + _READ_AT_ONCE]
            with reaching_redis():
                pipe = self._redis.pipeline(transaction=False)
                for hour in page:
                    pipe.hgetall(f"fb:books:jobs:{hour}")
                books = pipe.execute()
            for hour, book in zip(page, books, strict=True):
                for name, number in sorted(decoded(book).items()):
                    what, *of = json.loads(name)
                    yield Count(hour, what, tuple(of), int(number))


def job_counts(group: JobGroup, **numbers: int) -> dict[str, int]:
    """Return the counts of jobs of a group: `jobs`, `tokens_in`, `tokens_out`, `nusd` and so on."""
    of = list(asdict(group).values())
    return {_name("job", *of, what): number for what, number in numbers.items() if number}


def up_count(tenant: str, kind: str, reason: str) -> str:
    """Return the name of the count of jobs that went up for a reason."""
    return _name("up", tenant, kind, reason)


def check_count(tenant: str, kind: str, check: str) -> str:
    """Return the name of the count of answers that failed a check."""
    return _name("check", tenant, kind, check)


def audit_count(tenant: str, kind: str, *, agreed: bool, stand_in: bool) -> str:
    """Return the name of the count of audits with one result."""
    return _name("audit", tenant, kind, agreed, stand_in)


def _name(what: str, *of: object) -> str:
    return json.dumps([what, *of], separators=(",", ":"))


def _without_tenant(name: str) -> str:
    what, _, *of = json.loads(name)
    return _name(what, OTHERS, *of)
