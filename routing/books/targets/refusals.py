"""Which budgets refused calls, when, and how many: `reserve.lua` notes it in the books."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import redis

from forebay.routing.errors import counted
from forebay.routing.limits.allowances import FLEET, Limit, limits
from forebay.routing.limits.budget import KEEP_DAYS
from forebay.routing.policy.policy_file import Policy
from forebay.routing.store.connection import reaching_redis

_DAY_S, _HOUR_S = 86_400, 3_600
_READ_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Refusals:
    """The calls that one budget refused in a span of time.

    Attributes:
        scope: whose budget: `tenant`, `fleet` or `model`; `owner` is its name in the books.
        span: `hour`, `day` or `month`.
        windows: in how many of them.
        first_s, last_s: when the first and the last call was refused, in Unix seconds.
    """

    scope: str
    owner: str
    span: str
    windows: int
    calls: int
    first_s: float
    last_s: float

    @property
    def text(self) -> str:
        """What happened, in words."""
        first, last = (datetime.fromtimestamp(at, UTC) for at in (self.first_s, self.last_s))
        end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
        times = "" if self.windows == 1 else f", in {self.windows:,} {self.span}s"
        calls = counted(self.calls, "call")
        when = f"from {first:%Y-%m-%d %H:%M} to {end} UTC"
        return f"the {self.scope}'s budget of the {self.span} refused {calls} {when}{times}"

    @property
    def named_text(self) -> str:
        """What happened, with the name of the tenant or the model first."""
        name = self.owner.removeprefix("*:")
        return self.text if name == FLEET else f"{name}: {self.text}"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return f"raise it in the policy file, or wait for the next {self.span}"


def refusals(
    client: redis.Redis, policy: Policy, tenant: str, since_s: float, until_s: float
) -> list[Refusals]:
    """Return which budgets refused calls of a tenant: its own, the fleet's and its models'.

    The budgets of the fleet and of models count the calls of all tenants.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    return _noted(client, policy, [tenant], since_s, until_s)


def refused_lately(
    client: redis.Redis, policy: Policy, tenants: Iterable[str], now_s: float
) -> list[Refusals]:
    """Return which budgets refused calls of any of these tenants in the last hour.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    hour_ago = now_s - _HOUR_S
    noted = _noted(client, policy, tenants, hour_ago, now_s)
    return [one for one in noted if one.last_s > hour_ago]


def _noted(
    client: redis.Redis, policy: Policy, tenants: Iterable[str], since_s: float, until_s: float
) -> list[Refusals]:
    since_s = max(since_s, until_s - KEEP_DAYS * _DAY_S)
    asked = list(_windows(policy, tenants, since_s, until_s))
    noted = []
    for start in range(0, len(asked), _READ_AT_ONCE):
        noted += _read(client, asked[start : start + _READ_AT_ONCE])
    found = [
        (limit, *times) for limit, times in zip(asked, noted, strict=True) if times is not None
    ]
    found.sort(key=lambda one: _name(one[0]))
    return [_added(list(ones)) for _, ones in groupby(found, key=lambda one: _name(one[0]))]


def _windows(
    policy: Policy, tenants: Iterable[str], since_s: float, until_s: float
) -> Iterator[Limit]:
    """Yield each limit in each of its windows, once."""
    times = range(int(since_s), int(until_s) + _HOUR_S, _HOUR_S)
    found = {
        (limit.owner, limit.window.span, limit.window.book): limit
        for tenant in tenants
        for at_s in times
        for model in policy.models(tenant) or (None,)
        for limit in limits(policy, tenant, model, min(at_s, until_s))
    }
    yield from found.values()


def _read(client: redis.Redis, asked: list[Limit]) -> list[tuple[int, float, float] | None]:
    with reaching_redis():
        pipe = client.pipeline(transaction=False)
        for limit in asked:
            names = [f"{limit.owner}:{what}" for what in ("refusals", "refused", "last_refused")]
            pipe.hmget(f"fb:spend:{limit.window.book}", names)
        replies: list[Any] = pipe.execute()
    return [_times(limit, *reply) for limit, reply in zip(asked, replies, strict=True)]


def _times(
    limit: Limit, number: bytes | None, first: bytes | None, last: bytes | None
) -> tuple[int, float, float] | None:
    if first is None:
        return None
    first_s = int(first) / 1_000
    if number is None or last is None or first_s < limit.window.start_s:  # of an older version
        return 1, float(limit.window.start_s), float(limit.window.start_s)
    return int(number), first_s, int(last) / 1_000


def _name(limit: Limit) -> tuple[str, str, str]:
    return limit.scope, limit.owner, limit.window.span


def _added(ones: list[tuple[Limit, int, float, float]]) -> Refusals:
    scope, owner, span = _name(ones[0][0])
    return Refusals(
        scope, owner, span,
        windows=len(ones),
        calls=sum(calls for _, calls, _, _ in ones),
        first_s=min(first for _, _, first, _ in ones),
        last_s=max(last for _, _, _, last in ones),
    )  # fmt: skip
