"""What one process holds for the page: where it reads, who is signed in, and what was read last."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from forebay.producers.explain import explanation
from forebay.producers.gateway.access import Doors
from forebay.producers.gateway.fleets.gateways import Gateways
from forebay.producers.gateway.gateway import Gateway
from forebay.producers.gateway.status import rendering
from forebay.producers.gateway.status.closing import Closing
from forebay.producers.gateway.status.operator_ledgers import OperatorLedgers
from forebay.producers.gateway.status.settings import StatusSettings
from forebay.producers.gateway.status.viewer import Sessions, Viewer
from forebay.producers.gateway.status.views.adding_up import AllFleets
from forebay.producers.gateway.status.views.attention import problems
from forebay.producers.gateway.status.views.fleet_view import FleetView
from forebay.producers.gateway.status.views.job_page import JobPage
from forebay.producers.gateway.status.views.sources import TenantSource, now_ms
from forebay.routing.books.job_history import History, Minute, added_minutes
from forebay.routing.errors import UnknownJob
from forebay.routing.jobs import owner
from forebay.routing.ledger.dead_letters import DeadLetters
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.overview.adding_up import of_each
from forebay.routing.settings import Settings

EVERY_S = 2.0  # so often the fleet is read while somebody looks
MAX_KEPT = 100  # tenants whose last view is kept
#: The parts of the page that are updated, in their order: of the fleet, and of one tenant.
OF_FLEET = (
    "clock",
    "attention",
    "figures",
    "queues",
    "workers",
    "budgets",
    "reasons",
    "dead",
    "bulks",
)
OF_TENANT = ("clock", "attention", "figures", "budgets", "dead", "bulks")


class Latest:
    """A view that all who look share: it is read anew if it is older than two seconds."""

    def __init__(self, take: Callable[[], FleetView], gateway: Gateway) -> None:
        self._take, self._gateway = take, gateway
        self._lock, self._taken_at = asyncio.Lock(), float("-inf")
        self._view: FleetView | None = None

    async def get(self) -> FleetView:
        """Return the view. Raises `Misconfigured` or `Unavailable` as its source does."""
        async with self._lock:
            if self._view is None or time.monotonic() - self._taken_at >= EVERY_S:
                self._view = await self._gateway.on_thread(self._take)
                self._taken_at = time.monotonic()
            return self._view

    def forget(self) -> None:
        """Read anew when somebody looks next."""
        self._taken_at = float("-inf")


class StatusPage:
    """The resources of the page in one process.

    Attributes:
        settings: of the page.
        sessions: who is signed in.
        closing: whether the process was told to end.
    """

    def __init__(
        self, gateways: Gateways, doors: Doors, fleet: Settings, settings: StatusSettings
    ) -> None:
        self.settings = settings
        self._gateways, self._gateway = gateways, gateways.default
        secret = settings.status_secret
        self.sessions = Sessions(
            doors, secret.get_secret_value() if secret else secrets.token_hex(32)
        )
        self.closing = Closing()
        self._operator = OperatorLedgers(fleet, settings)
        self._views: dict[str | None, Latest] = {}

    async def view(self, viewer: Viewer) -> FleetView:
        """Return what a viewer sees: the fleet, or the tenant's part of it."""
        return await self._latest(viewer).get()

    async def parts(self, viewer: Viewer) -> dict[str, str]:
        """Return the HTML of each part of the page, by name."""
        view = await self.view(viewer)
        values = {
            "view": view, "viewer": viewer, "problems": problems(view),
            "token": self.sessions.form_token(viewer), "replays": self.settings.status_replay,
        }  # fmt: skip
        names = OF_FLEET if view.tenant is None else OF_TENANT
        return {name: rendering.html(f"parts/{name}.html", **values) for name in names}

    async def minutes(self, number: int) -> list[Minute]:
        """Return the last minutes of the fleet."""
        return await self._gateway.on_thread(self._minutes, number)

    def _minutes(self, number: int) -> list[Minute]:
        histories = {name: History(each.redis) for name, each in self._operator.all().items()}
        found, _ = of_each({name: partial(each.last, number) for name, each in histories.items()})
        return added_minutes(found.values())

    async def job(self, viewer: Viewer, job_id: str) -> JobPage:
        """Return what the page of a job shows.

        Raises:
            UnknownJob: There is no such job, or the viewer may not see it.
        """
        return await self._gateway.on_thread(self._job, viewer, job_id)

    async def replay(self, viewer: Viewer, job_id: str) -> str:
        """Replay a dead job, and return the id of the new job."""
        tenant = self.tenant_of(viewer, job_id)
        new = await self._gateway.on_thread(self._replay, viewer, tenant, job_id)
        self._latest(viewer).forget()
        return new

    def tenant_of(self, viewer: Viewer, job_id: str) -> str:
        """Return whose job it is.

        Raises:
            UnknownJob: It is no id of a job, or the viewer may not see jobs of that tenant.
        """
        tenant = owner(job_id)
        if tenant is None:
            raise UnknownJob("is not a job id: it reads TENANT.RANDOM", field="id")
        if not viewer.may_see(tenant):
            raise UnknownJob("no such job", field="id")
        return tenant

    async def close(self) -> None:
        """Close the connections."""
        self._operator.close()

    def _replay(self, viewer: Viewer, tenant: str, job_id: str) -> str:
        return DeadLetters(self._ledger_of(viewer, job_id), tenant).replay(job_id)

    def _job(self, viewer: Viewer, job_id: str) -> JobPage:
        self.tenant_of(viewer, job_id)
        ledger = self._ledger_of(viewer, job_id)
        record, audit = ledger.record(job_id), None
        if record.audited_as:
            with suppress(UnknownJob):
                audit = ledger.record(record.audited_as)
        return JobPage.of(record, explanation(record, audit), now_ms(ledger.redis))

    def _ledger_of(self, viewer: Viewer, job_id: str) -> Ledger:
        """Return the ledger that holds a job, as this viewer may read it."""
        if viewer.operates:
            return self._operator.place_of(job_id)
        return self._gateways.place_of(job_id)

    def _source_of(self, tenant: str | None) -> Callable[[], FleetView]:
        """Return what reads a view: all fleets, or the part of a tenant, in its home."""
        policy = self._gateway.policy
        if tenant is None:
            return AllFleets(self._operator.all, policy).take
        return lambda: TenantSource(self._gateways.home(tenant).ledger, policy, tenant).take()

    def _latest(self, viewer: Viewer) -> Latest:
        tenant = None if viewer.operates else viewer.tenant
        if tenant not in self._views:
            if len(self._views) >= MAX_KEPT:
                self._views.pop(next(iter(self._views)))
            self._views[tenant] = Latest(self._source_of(tenant), self._gateway)
        return self._views[tenant]
