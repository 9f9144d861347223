"""The history: what the fleet did in each minute of the last day.

Each minute is one small hash, `fb:books:jobs:minute:<minute>`. The book of jobs adds ends of jobs
and reasons for going up; the sweeper adds figures, whose names begin with `now:`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import redis
from redis.client import Pipeline

from forebay.routing.lanes import SHARDS
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.limits.budget import Budget
from forebay.routing.store.connection import clock_of, decoded, reaching_redis, text_of

MINUTE_S = 60
KEEP_S = 25 * 3600  # a day, and what a reader still looks at meanwhile
MAX_QUEUES = 50  # whose lengths are kept: the longest ones
_FIGURE = "now:"
_WAITING = f"{_FIGURE}waiting:"


class Minute(NamedTuple):
    """One minute of the fleet.

    Attributes:
        start: Unix time at which it began.
        counts: how many jobs ended by `local`, `bedrock`, `failed`, `expired` or `cancelled`; of
            these `degraded` and `cached`; and `up:<reason>` for jobs that went to Bedrock.
        waiting: jobs that waited, by queue; `None` if no sweeper looked.
        running: jobs that workers held.
        spent_nusd: settled until then on that day (UTC), in billionths of a dollar.
    """

    start: int
    counts: Mapping[str, int]
    waiting: Mapping[str, int] | None
    running: int
    spent_nusd: int


def add(pipe: Pipeline, counts: Mapping[str, int], at_s: int) -> None:
    """Add counts to the minute of a moment, with what else a pipeline sends."""
    minute = at_s // MINUTE_S
    for name, count in counts.items():
        pipe.hincrby(_key(minute), name, count)
    pipe.expireat(_key(minute), minute * MINUTE_S + KEEP_S)


class History:
    """The minutes in one Redis. All methods raise `Unavailable` without it."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis, self._transitions = client, Transitions(client)

    def sample(self) -> None:
        """Keep the figures of the present minute: what waits, what runs, what was spent."""
        settled, _ = Budget(self._redis).spent()
        with reaching_redis():
            running: Any = self._redis.zcard("fb:leases")
        flat: Any = self._transitions.run("depths")
        depths = dict(zip(map(text_of, flat[::2]), flat[1::2], strict=True))
        waiting = Counter[str]()
        for name, depth in depths.items():
            waiting[name.removesuffix(SHARDS)] += max(0, depth)
        figures: dict[Any, Any] = {
            f"{_WAITING}{queue}": n for queue, n in waiting.most_common(MAX_QUEUES)
        }
        figures |= {f"{_FIGURE}running": running, f"{_FIGURE}spent": settled}
        number = self._minute()
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(_key(number), mapping=figures)
            pipe.expireat(_key(number), number * MINUTE_S + KEEP_S)
            pipe.execute()

    def last(self, minutes: int) -> list[Minute]:
        """Return the last minutes, the oldest first, the present one last."""
        now = self._minute()
        numbers = range(now - minutes + 1, now + 1)
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            for number in numbers:
                pipe.hgetall(_key(number))
            replies = pipe.execute()
        return [_minute(n, decoded(fields)) for n, fields in zip(numbers, replies, strict=True)]

    def _minute(self) -> int:
        with reaching_redis():
            return int(clock_of(self._redis)) // MINUTE_S


def added_minutes(fleets: Iterable[list[Minute]]) -> list[Minute]:
    """Return the minutes of several fleets together, the oldest first."""
    found: dict[int, Minute] = {}
    for minute in (minute for minutes in fleets for minute in minutes):
        known = found.get(minute.start)
        found[minute.start] = minute if known is None else _added(known, minute)
    return [found[start] for start in sorted(found)]


def _key(minute: int) -> str:
    return f"fb:books:jobs:minute:{minute}"


def _minute(number: int, fields: Mapping[str, str]) -> Minute:
    values = {name: int(value) for name, value in fields.items()}
    sampled = f"{_FIGURE}running" in values
    return Minute(
        start=number * MINUTE_S,
        counts={name: n for name, n in values.items() if not name.startswith(_FIGURE)},
        waiting={
            name.removeprefix(_WAITING): n
            for name, n in values.items()
            if name.startswith(_WAITING)
        }
        if sampled
        else None,
        running=values.get(f"{_FIGURE}running", 0),
        spent_nusd=values.get(f"{_FIGURE}spent", 0),
    )


def _added(one: Minute, other: Minute) -> Minute:
    waiting = [sample.waiting for sample in (one, other) if sample.waiting is not None]
    return Minute(
        one.start,
        Counter(one.counts) + Counter(other.counts),
        sum(map(Counter, waiting), Counter[str]()) if waiting else None,
        one.running + other.running,
        one.spent_nusd + other.spent_nusd,
    )
