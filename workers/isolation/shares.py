"""How many processes each tenant may use at once, so that none takes all of them.

A tenant one of whose calls computed for long may use fewer for a while, and its further calls wait
only a moment: otherwise the workers' threads would fill with its waiting calls.
"""

from __future__ import annotations

import math
import time
from collections import Counter

from forebay.workers.isolation.limits import (
    MAX_OF_SLOW_TENANT,
    MAX_OF_TENANT,
    SLOW_PATIENCE_S,
    SLOW_TENANT_S,
)

MAX_SLOW_TENANTS = 1_000  # that are remembered


class Shares:
    """The processes in use by tenant. Not safe to share between threads by itself.

    An empty tenant is nobody: calls that belong to no job are not limited.
    """

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()
        self._slow_until: dict[str, float] = {}

    def is_free(self, tenant: str) -> bool:
        """Return whether the tenant may use one more process."""
        most = MAX_OF_SLOW_TENANT if self._is_slow(tenant) else MAX_OF_TENANT
        return not tenant or self._used[tenant] < most

    def patience_s(self, tenant: str) -> float:
        """Return how long a call of the tenant may wait for a process."""
        return SLOW_PATIENCE_S if self._is_slow(tenant) else math.inf

    def use(self, tenant: str) -> None:
        """Count a process that the tenant uses from now on."""
        self._used[tenant] += 1

    def give_back(self, tenant: str) -> None:
        """Count a process that the tenant uses no more."""
        self._used[tenant] -= 1
        if self._used[tenant] <= 0:
            del self._used[tenant]

    def slow_down(self, tenant: str) -> None:
        """Remember that a call of the tenant computed for long."""
        if tenant:
            if len(self._slow_until) >= MAX_SLOW_TENANTS:
                self._slow_until.clear()
            self._slow_until[tenant] = time.monotonic() + SLOW_TENANT_S

    def _is_slow(self, tenant: str) -> bool:
        return self._slow_until.get(tenant, 0.0) > time.monotonic()
