"""What the pace has written down (`pace.lua`): read to be looked at, overridden by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

import redis

from forebay.routing.base import KINDS
from forebay.routing.limits.pacing import Stage
from forebay.routing.store.connection import decoded, reaching_redis

#: The kinds that can go up.
PACED = tuple(kind for kind in KINDS if kind != "embed")
STAGES: tuple[Stage, ...] = get_args(Stage)
#: Stands for every tenant that has no override of its own.
EVERYBODY = "*"

Word = Literal["threshold", "share", "off"]


@dataclass(frozen=True, slots=True)
class Override:
    """What somebody set by hand, instead of the policy's target.

    Attributes:
        word: jobs go from this `threshold` of their score; or this `share` of them; or `off`: as
            if no pace were set.
        value: of the threshold or the share.
        ends_in_s: seconds until the policy holds again.
        tenant: whose; `*` for everybody's.
    """

    word: Word
    value: float | None
    ends_in_s: float
    tenant: str


@dataclass(frozen=True, slots=True)
class Line:
    """One kind at one stage.

    Attributes:
        seen: jobs offered so far.
        went: share of the last 500 that went up; none where no pace was set for any.
        aim: the share that goes just now.
        threshold: the score that separates them just now.
    """

    kind: str
    stage: Stage
    seen: int
    went: float | None
    aim: float | None
    threshold: float | None
    override: Override | None


@dataclass(frozen=True, slots=True)
class Account:
    """One tenant's.

    Attributes:
        went: share of its jobs that went up, of the last 500 at each stage; overridden kinds are
            left out.
        hard: share of the local answers that failed their checks.
        lines: of the kinds that were seen, or are overridden.
    """

    tenant: str
    went: float | None
    hard: float | None
    lines: tuple[Line, ...]


class PacingReport:
    """The pace's books in one Redis. All methods raise `Unavailable` when it cannot be reached."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def tenants(self) -> list[str]:
        """Those with jobs, or an override, in the last eight days."""
        with reaching_redis():
            found: Any = self._redis.zrange("fb:pace:tenants", 0, -1)
        return sorted({name.decode() for name in found} - {EVERYBODY})

    def account(self, tenant: str) -> Account:
        """What is known of a tenant; empty where nothing is."""
        with reaching_redis():
            fields: Any = self._redis.hgetall(f"fb:pace:tenant:{tenant}")
        known = decoded(fields)
        lines = tuple(self._lines(tenant, known))
        return Account(tenant, _total(known), _number(known, "hard"), lines)

    def override(self, kind: str, word: Word, value: float | None, for_s: float, *,
                 tenant: str = EVERYBODY, stages: tuple[Stage, ...] = STAGES) -> None:  # fmt: skip
        """Set by hand what a kind does, for some seconds; an earlier override is replaced."""
        said = word if value is None else f"{word} {value!r}"
        with reaching_redis(), self._redis.pipeline() as pipe:
            for stage in STAGES:
                pipe.delete(_key(tenant, kind, stage))
            for stage in stages:
                pipe.set(_key(tenant, kind, stage), said, px=max(1, int(for_s * 1000)))
            pipe.zadd("fb:pace:tenants", {tenant: time.time()})
            pipe.execute()

    def clear(self, kind: str, *, tenant: str = EVERYBODY) -> bool:
        """Let the policy hold again. Returns whether there was an override."""
        with reaching_redis():
            return bool(self._redis.delete(*(_key(tenant, kind, stage) for stage in STAGES)))

    def _lines(self, tenant: str, known: Mapping[str, str]) -> Iterator[Line]:
        overrides = self._overrides(tenant)
        for kind, stage in product(PACED, STAGES):
            own, override = f"{kind}:{stage}", overrides.get((kind, stage))
            seen = int(_number(known, f"{own}:seen") or 0)
            if seen or override:
                yield Line(
                    kind, stage, seen,
                    went=_number(known, f"{own}:went"),
                    aim=_number(known, f"{own}:aim"),
                    threshold=_number(known, f"{own}:threshold"),
                    override=override,
                )  # fmt: skip

    def _overrides(self, tenant: str) -> dict[tuple[str, str], Override]:
        """Those that hold for a tenant: its own go before everybody's."""
        places = list(product((EVERYBODY, tenant), PACED, STAGES))
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            for place in places:
                pipe.get(_key(*place))
                pipe.pttl(_key(*place))
            replies = pipe.execute()
        found: dict[tuple[str, str], Override] = {}
        for (owner, kind, stage), said, left_ms in zip(
            places, replies[::2], replies[1::2], strict=True
        ):
            if said:
                found[kind, stage] = _override(said.decode(), left_ms, owner)
        return found


def _key(tenant: str, kind: str, stage: str) -> str:
    return f"fb:pace:override:{tenant}:{kind}:{stage}"


def _override(said: str, left_ms: int, tenant: str) -> Override:
    word, _, value = said.partition(" ")
    kept: Any = word  # written by us alone
    return Override(kept, float(value) if value else None, left_ms / 1000, tenant)


def _number(known: Mapping[str, str], field: str) -> float | None:
    said = known.get(field)
    return float(said) if said else None


def _total(known: Mapping[str, str]) -> float | None:
    """The share of all jobs: those that went before the answer, and of the rest those after it."""
    first = _number(known, "before:went")
    if first is None:
        return None
    return first + (1 - first) * (_number(known, "after:went") or 0.0)
