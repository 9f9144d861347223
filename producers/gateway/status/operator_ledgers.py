"""The ledgers of all fleets, as the operator's user reads them."""

from __future__ import annotations

from forebay.producers.gateway.status.settings import StatusSettings
from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.fleets.opening import map_file
from forebay.routing.fleets.tenant_ledger import holds
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect

SINGLE = ""  # the name of the only fleet


class OperatorLedgers:
    """A ledger for each fleet of the map, or a single one if there is no map."""

    def __init__(self, fleet: Settings, shown: StatusSettings) -> None:
        path = (shown.status_fleets or fleet.fleets) if fleet.fleets else None
        self._file = map_file(path) if path else None
        url = shown.status_redis_url
        self._single = fleet.model_copy(update={"redis_url": url}) if url else fleet
        self._ledgers: dict[tuple[str, str], Ledger] = {}

    def all(self) -> dict[str, Ledger]:
        """Return the ledgers by the names of their fleets."""
        names = sorted(self._file.current().fleets) if self._file else [SINGLE]
        return {name: self._named(name) for name in names}

    def place_of(self, job_id: str) -> Ledger:
        """Return the ledger that holds a job; the first of its tenant for a job that none holds."""
        if self._file is None:
            return self._named(SINGLE)
        names = self._file.current().places(job_id.partition(".")[0])
        places = [self._named(name) for name in names]
        return next((one for one in places if holds(one, job_id)), places[0])

    def close(self) -> None:
        """Close the connections."""
        for ledger in self._ledgers.values():
            ledger.redis.close()

    def _named(self, name: str) -> Ledger:
        file = self._file
        settings = file.current().settings(name, self._single) if file else self._single
        key = name, settings.redis_url
        if key not in self._ledgers:
            self._ledgers[key] = Ledger(connect(settings), settings, packaged_template)
        return self._ledgers[key]
