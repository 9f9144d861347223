"""Delivers events to webhooks: signed, a few at a time for each receiver, and again after failures.

One process of all gateways delivers at a time, by a lease; another takes over if it dies.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from standardwebhooks import Webhook as Signer

from forebay.producers.gateway.webhooks.addresses import Network
from forebay.producers.gateway.webhooks.deliveries import Deliveries, Delivery, delivery_of
from forebay.producers.gateway.webhooks.events import TEST, Events
from forebay.producers.gateway.webhooks.posting import NotDelivered, post
from forebay.producers.gateway.webhooks.webhook import Webhook
from forebay.producers.gateway.webhooks.webhook_store import WebhookStore
from forebay.routing.errors import ForebayError, RedisUnavailable, UnknownJob
from forebay.routing.logs import Event, event, place
from forebay.routing.store.lease import Lease

LOOK_EVERY_S = 1.0
MAX_AT_ONCE = 32  # deliveries under way
MAX_OF_ONE = 4  # of them to one webhook, so that a slow receiver keeps no other waiting
PUT_OFF_S = 3.0  # for deliveries to a webhook that has so many under way
MAX_DUE = 200  # looked at together

log = logging.getLogger(__name__)


class Courier:
    """Delivers what has ended to the webhooks of its tenant.

    1. Makes deliveries of the ends that the ledger wrote down.
    2. Posts each delivery that is due, with a signature of the Standard Webhooks scheme.
    3. Tries a failed delivery again, later each time, and gives it up after about a day.

    Args:
        store: the webhooks.
        deliveries: what is to be delivered.
        events: makes the bodies.
        networks: networks that may be called although they are not public.
        on_thread: calls what blocks on Redis.
    """

    def __init__(
        self,
        store: WebhookStore,
        deliveries: Deliveries,
        events: Events,
        networks: Sequence[Network],
        on_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._store, self._deliveries, self._events = store, deliveries, events
        self._networks, self._on_thread = networks, on_thread
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()

    async def run(self, lease: Lease) -> None:
        """Deliver as long as this process has the lease, until it is cancelled."""
        try:
            await self._run(lease)
        finally:
            with suppress(ForebayError):
                lease.release()

    async def _run(self, lease: Lease) -> None:
        while True:
            try:
                if await self._on_thread(lease.hold):
                    await self._on_thread(self._take_ends)
                    await self._begin_due()
            except ForebayError:  # Redis is away: look again
                pass
            except Exception as error:  # noqa: BLE001 - no event would be delivered any more
                _log(error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def test(self, webhook: Webhook) -> str:
        """Deliver an event of type `webhook.test` now; return how that went."""
        delivery = Delivery(
            webhook.id, webhook.tenant, webhook.id, TEST, webhook.id, "", int(time.time()),
            f"evt_test_{webhook.id}",
        )  # fmt: skip
        _, outcome = await self._try(delivery, webhook)
        return outcome

    def _take_ends(self) -> None:
        """Make deliveries of what has ended; a tenant whose ends cannot be read stops no other."""
        for tenant in self._store.tenants():
            try:
                self._take_ends_of(tenant)
            except RedisUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - the tenant may have written anything there
                _log(error)

    def _take_ends_of(self, tenant: str) -> None:
        webhooks = self._store.list(tenant)
        for end in self._deliveries.ends(tenant):
            made = [
                delivery_of(end, kind, webhook)
                for kind in self._events.types(end)
                for webhook in webhooks
                if kind in webhook.events and webhook.disabled is None
            ]
            self._deliveries.make(tenant, end, made)

    async def _begin_due(self) -> None:
        room = MAX_AT_ONCE - len(self._under_way)
        for delivery in await self._on_thread(self._deliveries.due, MAX_DUE) if room > 0 else ():
            if delivery.id in self._under_way:
                continue
            if self._busy[delivery.webhook] >= MAX_OF_ONE:
                await self._on_thread(self._deliveries.begin, delivery, PUT_OFF_S)
                continue
            await self._on_thread(self._deliveries.begin, delivery)
            self._busy[delivery.webhook] += 1
            task = asyncio.get_running_loop().create_task(self._deliver(delivery))
            self._under_way[delivery.id] = task
            room -= 1
            if room <= 0:
                return

    async def _deliver(self, delivery: Delivery) -> None:
        """Try a delivery, and note what comes of it."""
        try:
            webhook = await self._on_thread(self._store.get, delivery.tenant, delivery.webhook)
            if webhook.disabled is None:
                await self._tried(delivery, webhook)
            else:
                await self._on_thread(self._deliveries.end, delivery)
        except UnknownJob:  # the webhook was removed
            await self._on_thread(self._deliveries.end, delivery)
        except ForebayError:  # Redis is away: it is due again soon
            pass
        finally:
            self._busy[delivery.webhook] -= 1
            self._under_way.pop(delivery.id, None)

    async def _tried(self, delivery: Delivery, webhook: Webhook) -> None:
        status, outcome = await self._try(delivery, webhook)
        if status == HTTPStatus.GONE:
            await self._on_thread(self._store.disable, webhook)
        if status == HTTPStatus.GONE or 200 <= status < 300:  # noqa: PLR2004 - HTTP
            await self._on_thread(self._deliveries.end, delivery)
        elif not await self._on_thread(self._deliveries.again, delivery):
            log.warning(
                "webhook %s took none of the tries to deliver %s (%s)", webhook.id, delivery.event,
                outcome, extra=event(Event.WEBHOOK_GIVEN_UP, webhook=webhook.id),
            )  # fmt: skip

    async def _try(self, delivery: Delivery, webhook: Webhook) -> tuple[int, str]:
        """Post an event; return the status (0 without a response), and the outcome in words."""
        body = await self._on_thread(self._events.body, delivery, webhook)
        secrets = await self._on_thread(self._store.secrets, webhook)
        try:
            headers = signed(secrets, delivery.event, body)
            status = await post(webhook.url, body, headers, self._networks)
        except NotDelivered as error:
            status, outcome = 0, str(error)
        else:
            outcome = f"HTTP {status}"
        await self._on_thread(self._store.note, webhook, outcome)
        return status, outcome


def _log(error: Exception) -> None:
    log.error(
        "delivering broke: %s at %s", type(error).__name__, place(error),
        extra=event(Event.WEBHOOK_BROKE),
    )  # fmt: skip


def signed(secrets: Sequence[str], event_id: str, body: bytes) -> dict[str, str]:
    """Return the headers of an event: its id, the time, and each secret's signature of all that."""
    now = datetime.now(UTC)
    signatures = [Signer(secret).sign(event_id, now, body.decode()) for secret in secrets]
    return {
        "content-type": "application/json", "user-agent": "forebay-webhooks",
        "webhook-id": event_id, "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }  # fmt: skip
