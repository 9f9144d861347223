"""Read the state of the pacing controller (`pace.lua`), and override it by hand."""

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

#: The kinds that can go to Bedrock.
PACED = tuple(kind for kind in KINDS if kind != "embed")
STAGES: tuple[Stage, ...] = get_args(Stage)
#: The owner of overrides for every tenant that has no override of its own.
EVERYBODY = "*"

Word = Literal["threshold", "share", "off"]


@dataclass(frozen=True, slots=True)
class Override:
    """An override by hand, which replaces the policy's target until it expires.

    Attributes:
        word: `threshold`: jobs with at least this score go; `share`: this share of jobs goes;
            `off`: as if no target were set.
        value: the threshold or the share; None for `off`.
        ends_in_s: seconds until the policy applies again.
        tenant: whose jobs; `*` for every tenant without an override of its own.
    """

    word: Word
    value: float | None
    ends_in_s: float
    tenant: str


@dataclass(frozen=True, slots=True)
class Line:
    """The state of one kind at one stage.

    Attributes:
        kind: the kind.
        stage: before or after the local answer.
        seen: jobs offered so far.
        went: share that went to Bedrock, averaged over the last 500 jobs or so. None if no job
            had a target.
        aim: the share that goes now.
        threshold: the score that now separates jobs that go from jobs that stay.
        override: the override in force, if there is one.
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
    """The state of one tenant.

    Attributes:
        tenant: the tenant.
        went: share of its jobs that went to Bedrock, averaged over the last 500 jobs or so at each
            stage. It leaves out kinds with an override.
        hard: share of its local answers that failed their checks.
        lines: one for each kind and stage that was seen, or has an override.
    """

    tenant: str
    went: float | None
    hard: float | None
    lines: tuple[Line, ...]


class PacingReport:
    """The pacing controller's state in one Redis. All methods raise `Unavailable` without it."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def tenants(self) -> list[str]:
        """Return the tenants with jobs or an override in the last eight days."""
        with reaching_redis():
            names: Any = self._redis.zrange("fb:pace:tenants", 0, -1)
        return sorted({name.decode() for name in names} - {EVERYBODY})

    def account(self, tenant: str) -> Account:
        """Return the state of a tenant; it has no lines if nothing is known."""
        with reaching_redis():
            fields: Any = self._redis.hgetall(f"fb:pace:tenant:{tenant}")
        known = decoded(fields)
        lines = tuple(self._lines(tenant, known))
        return Account(tenant, _total(known), _number(known, "hard"), lines)

    def override(self, kind: str, word: Word, value: float | None, for_s: float, *,
                 tenant: str = EVERYBODY, stages: tuple[Stage, ...] = STAGES) -> None:  # fmt: skip
        """Override a kind for some seconds. It replaces an earlier override."""
        text = word if value is None else f"{word} {value!r}"
        with reaching_redis(), self._redis.pipeline() as pipe:
            for stage in STAGES:
                pipe.delete(_key(tenant, kind, stage))
            for stage in stages:
                pipe.set(_key(tenant, kind, stage), text, px=max(1, int(for_s * 1000)))
            pipe.zadd("fb:pace:tenants", {tenant: time.time()})
            pipe.execute()

    def clear(self, kind: str, *, tenant: str = EVERYBODY) -> bool:
        """Remove an override, so that the policy applies again; return True if there was one."""
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
        """Return the overrides in force for a tenant; its own precede everybody's."""
        slots = list(product((EVERYBODY, tenant), PACED, STAGES))
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            for slot in slots:
                pipe.get(_key(*slot))
                pipe.pttl(_key(*slot))
            replies = pipe.execute()
        overrides: dict[tuple[str, str], Override] = {}
        for (owner, kind, stage), text, left_ms in zip(
            slots, replies[::2], replies[1::2], strict=True
        ):
            if text:
                overrides[kind, stage] = _override(text.decode(), left_ms, owner)
        return overrides


def _key(tenant: str, kind: str, stage: str) -> str:
    return f"fb:pace:override:{tenant}:{kind}:{stage}"


def _override(text: str, left_ms: int, tenant: str) -> Override:
    name, _, value = text.partition(" ")
    word: Any = name  # written by `override` alone
    return Override(word, float(value) if value else None, left_ms / 1000, tenant)


def _number(known: Mapping[str, str], field: str) -> float | None:
    value = known.get(field)
    return float(value) if value else None


def _total(known: Mapping[str, str]) -> float | None:
    """Return the share of all jobs that went: before the answer, or of the rest after it."""
    before = _number(known, "before:went")
    if before is None:
        return None
    return before + (1 - before) * (_number(known, "after:went") or 0.0)
