"""The fleets of one tenant at this moment, each with its ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import redis

from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.fleets import fence
from forebay.routing.fleets.map_file import MapFile
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.ttl_cache import TtlCache

Connect = Callable[[Settings], redis.Redis]
FENCE_KEPT_S = 0.5  # so long the fence of an old fleet is not read again


class TenantFleets:
    """Where the jobs of a tenant are, by the map and by the fence of its old fleet.

    1. `places` are the ledgers that may hold its jobs: that of new jobs first.
    2. `home` is the fleet to which all else of the tenant belongs: bulks, batches, webhooks, keys
       and budgets. While the tenant is moved this is the old fleet, until all was carried.

    Safe to share between threads. It connects to a fleet when it is first asked for.
    """

    def __init__(self, file: MapFile, settings: Settings, tenant: str, connect: Connect) -> None:
        self._file, self._settings, self._tenant = file, settings, tenant
        self._connect = connect
        self._ledgers: dict[tuple[str, str], Ledger] = {}
        self._fence = TtlCache(self._read_fence, FENCE_KEPT_S)

    def names(self) -> tuple[str, ...]:
        """Return the names of the fleets that may hold jobs of the tenant."""
        return self._file.current().places(self._tenant)

    def places(self) -> list[Ledger]:
        """Return the ledgers that may hold jobs of the tenant, that of its new jobs first."""
        return [self._ledger(name) for name in self.names()]

    def home_name(self) -> str:
        """Return the name of the tenant's home.

        Raises:
            Unavailable: What belongs to the tenant is being carried at this moment.
        """
        names = self.names()
        old = self._fence(names[-1]) if len(names) > 1 else None
        return fence.home(names, old, self._tenant)

    def home(self) -> Ledger:
        """Return the ledger of the tenant's home; raise as `home_name` does."""
        return self._ledger(self.home_name())

    def look_again(self, asked: Sequence[str]) -> bool:
        """Read the map again; return whether the tenant's fleets are others than those asked."""
        return self._file.look().places(self._tenant) != asked

    def moved_to(self) -> str | None:
        """Return the fleet to which the first fleet says the tenant has moved, if it says so."""
        found = self._read_fence(self.names()[0])
        return found.to if found else None

    def close(self) -> None:
        """Close the connections."""
        for ledger in self._ledgers.values():
            ledger.redis.close()

    def _ledger(self, name: str) -> Ledger:
        settings = self._file.current().settings(name, self._settings)
        key = name, settings.redis_url
        if key not in self._ledgers:
            ledger = Ledger(self._connect(settings), settings, packaged_template)
            self._ledgers.setdefault(key, ledger)
        return self._ledgers[key]

    def _read_fence(self, name: str) -> fence.Fence | None:
        return fence.read(self._ledger(name).redis, self._tenant)
