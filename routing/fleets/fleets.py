"""All fleets of the map, for operators: a reader of each."""

from __future__ import annotations

from functools import cached_property

import redis

from forebay.routing.fleets.fleet_map import FleetMap
from forebay.routing.fleets.map_file import MapFile
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect


class Fleets:
    """The fleets of a map. It connects to a fleet when it is first asked for."""

    def __init__(self, file: MapFile, settings: Settings) -> None:
        self.file, self._settings = file, settings
        self._readers: dict[str, LedgerReader] = {}

    @property
    def map(self) -> FleetMap:
        """The map in force."""
        return self.file.current()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the fleets."""
        return tuple(sorted(self.map.fleets))

    def reader(self, name: str) -> LedgerReader:
        """Return a reader of one fleet.

        Raises:
            Misconfigured: There is no such fleet.
        """
        if name not in self._readers:
            settings = self.map.settings(name, self._settings)
            self._readers[name] = LedgerReader(connect(settings), settings)
        return self._readers[name]

    def redis(self, name: str) -> redis.Redis:
        """Return a client of one fleet; raise as `reader` does."""
        return self.reader(name).redis
