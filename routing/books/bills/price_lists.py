"""The price lists by which calls were planned: a bill that comes later is priced by them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from pydantic import ValidationError

from forebay.routing.errors import Unavailable
from forebay.routing.limits.prices import Prices
from forebay.routing.store.connection import decoded, reaching_redis

_KEY = "fb:books:prices"  # a hash: version -> the list as JSON
#: Versions that are kept; a fleet changes its prices now and then.
MAX_LISTS = 100


class PriceLists:
    """The price lists of one Redis, by version. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._kept: set[str] = set()

    def following(self, prices: Callable[[], Prices]) -> Callable[[], Prices]:
        """Return a function that returns what `prices` does, and keeps each list that is new."""

        def current() -> Prices:
            found = prices()
            if found.version not in self._kept:
                with suppress(Unavailable):  # the next call tries again
                    self._keep(found)
            return found

        return current

    def _keep(self, prices: Prices) -> None:
        with reaching_redis():
            if self._redis.hlen(_KEY) < MAX_LISTS:
                self._redis.hsetnx(_KEY, prices.version, prices.model_dump_json())
        self._kept.add(prices.version)

    def all(self) -> dict[str, Prices]:
        """Return the lists that are kept. One that this release cannot read is left out.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        with reaching_redis():
            stored: Any = self._redis.hgetall(_KEY)
        found = {}
        for version, text in decoded(stored).items():
            try:
                found[version] = Prices.model_validate_json(text)
            except ValidationError:
                continue
        return found
