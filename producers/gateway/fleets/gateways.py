"""The gateways of one process: one for each fleet, or a single one if there is no map."""

from __future__ import annotations

from collections.abc import Callable

from forebay.producers.gateway.api_keys import ApiKey
from forebay.producers.gateway.gateway import Gateway
from forebay.producers.gateway.settings import GatewaySettings
from forebay.producers.gateway.text_reader import TextReader
from forebay.routing.errors import ForebayError
from forebay.routing.fleets.fence import Fence, home, read
from forebay.routing.fleets.opening import map_file
from forebay.routing.fleets.tenant_fleets import FENCE_KEPT_S
from forebay.routing.fleets.tenant_ledger import holds
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.ttl_cache import TtlCache

SINGLE = ""  # the name of the only fleet


class Gateways:
    """Chooses the gateway of a tenant by the map, and follows the map as it changes.

    Args:
        settings: of the gateway.
        fleet: with a map of fleets, or the address of the one Redis.
        opened: called with each gateway when it is made.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        fleet: Settings,
        opened: Callable[[Gateway], object] = lambda _: None,
    ) -> None:
        self.settings = settings
        self._fleet, self._opened = fleet, opened
        self._file = map_file(fleet.fleets) if fleet.fleets else None
        self._gateways: dict[tuple[str, str], Gateway] = {}
        self._fence = TtlCache(self._read_fence, FENCE_KEPT_S)
        self._fleet_of_key: dict[str, str] = {}

    @property
    def default(self) -> Gateway:
        """The gateway of tenants that the map does not name."""
        return self._named(self._file.current().default if self._file else SINGLE)

    def map_version(self) -> str | None:
        """Return the version of the map in force; `None` if there is no map."""
        return self._file.current().version if self._file else None

    def all(self) -> list[Gateway]:
        """Return the gateways of all fleets."""
        return [self._named(name) for name in self._names()]

    async def of(self, tenant: str) -> Gateway:
        """Return the gateway of a tenant's home; see `TenantFleets.home_name`.

        Raises:
            Unavailable: What belongs to the tenant is being carried at this moment.
        """
        places = self._places(tenant)
        if len(places) == 1:
            return self._named(places[0])
        return await self.default.on_thread(self.home, tenant)

    def home(self, tenant: str) -> Gateway:
        """Return the same; it may block."""
        places = self._places(tenant)
        old = self._fence(places[-1], tenant) if len(places) > 1 else None
        return self._named(home(places, old, tenant))

    def place_of(self, job_id: str) -> Ledger:
        """Return the ledger that holds a job; it may block. Where none does, it is the first."""
        places = [self._named(name).ledger for name in self._places(job_id.partition(".")[0])]
        return next((one for one in places if holds(one, job_id)), places[0])

    def find_key(self, key_id: str) -> ApiKey | None:
        """Return the record of an API key, in whichever fleet it is; `None` if there is none.

        Raises:
            ForebayError: A fleet cannot be reached, and no other has the key.
        """
        failure: ForebayError | None = None
        for name in sorted(self._names(), key=lambda name: name != self._fleet_of_key.get(key_id)):
            try:
                key = self._named(name).keys.find(key_id)
            except ForebayError as error:
                failure = error
                continue
            if key is not None:
                self._fleet_of_key[key_id] = name
                return key
        if failure is not None:
            raise failure
        return None

    async def close(self) -> None:
        """Close all gateways."""
        for gateway in self._gateways.values():
            await gateway.close()

    def _names(self) -> list[str]:
        return sorted(self._file.current().fleets) if self._file else [SINGLE]

    def _places(self, tenant: str) -> tuple[str, ...]:
        return self._file.current().places(tenant) if self._file else (SINGLE,)

    def _named(self, name: str) -> Gateway:
        fleet = self._file.current().settings(name, self._fleet) if self._file else self._fleet
        key = name, fleet.redis_url
        if key not in self._gateways:
            self._gateways[key] = Gateway(
                self.settings, fleet, clients=self._fleet, texts_of=self._texts_of,
                place_of=self.place_of,
            )  # fmt: skip
            self._opened(self._gateways[key])
        return self._gateways[key]

    def _texts_of(self, tenant: str) -> TextReader:
        """Return the reader of the texts of a tenant's new jobs."""
        return self._named(self._places(tenant)[0]).texts

    def _read_fence(self, name: str, tenant: str) -> Fence | None:
        return read(self._named(name).redis, tenant)
