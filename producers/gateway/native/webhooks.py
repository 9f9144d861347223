"""`/webhooks`: where a tenant is told of what has ended."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.asking.options import span
from forebay.producers.gateway.documents import documented_natively
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.webhooks.addresses import NoAddress, NotAllowed, address_of
from forebay.producers.gateway.webhooks.webhook import MAX_URL_CHARS, EventType, Webhook
from forebay.producers.gateway.wire import Body, read, respond

LOOK_UP_S = 5.0  # for the address of a new webhook

router = APIRouter(prefix="/webhooks", tags=["Webhooks"])


class NewWebhook(Body):
    """The body of `POST /webhooks`.

    Attributes:
        url: where events are posted.
        events: the types of events; by default those of jobs, bulks and batches.
        content: events of jobs that may leave the building hold the answer.
    """

    url: str = Field(max_length=MAX_URL_CHARS)
    events: list[EventType] = Field(default_factory=list, max_length=50)
    content: bool = False


class Rotation(Body):
    """The body of `POST /webhooks/ID/rotate`.

    Attributes:
        overlap: a span such as `1h` or `2d`: so long events are signed with both secrets.
    """

    overlap: str = "1d"

    def span(self) -> timedelta:
        """Return the span. Raises `InvalidRequest`."""
        found = span(self.overlap)
        if found is None:
            raise InvalidRequest("must be a span such as 30s, 5m, 2h or 1d", field="overlap")
        return found


class LastDelivery(TypedDict):
    """How the last delivery went."""

    at: float
    outcome: str


class WebhookView(TypedDict):
    """A webhook, without its secret."""

    id: str
    tenant: str
    url: str
    events: list[EventType]
    content: bool
    created: str
    disabled: str | None
    last: LastDelivery | None


class WebhookWithSecret(WebhookView):
    """A webhook that was made just now, with the secret that signs its events."""

    secret: str


class WebhookList(TypedDict):
    """The webhooks of the tenant, the oldest first."""

    webhooks: list[WebhookView]


class RemovedWebhook(TypedDict):
    """That a webhook is no more."""

    id: str
    removed: bool


class TestedWebhook(TypedDict):
    """How the delivery of a test went."""

    id: str
    delivered: bool
    outcome: str


@router.post("", **documented_natively(NewWebhook, WebhookWithSecret, status=201))
async def add_webhook(request: Request) -> Response:
    """Be told of what has ended. The secret in the response is shown only once."""
    by = await caller(request, "admin")
    body = read(NewWebhook, await request.body())
    await _check_address(by, body.url)
    webhook, secret = await by.gateway.on_thread(
        by.gateway.webhooks.add, by.tenant, body.url, events=body.events, content=body.content
    )
    return respond({**webhook.public(), "last": None, "secret": secret}, {}, 201)


@router.get("", **documented_natively(None, WebhookList))
async def list_webhooks(request: Request) -> Response:
    """List the tenant's webhooks, and how the last delivery to each went."""
    by = await caller(request, "read")

    def shown() -> list[dict[str, Any]]:
        store = by.gateway.webhooks
        return [{**each.public(), "last": store.last(each)} for each in store.list(by.tenant)]

    return respond({"webhooks": await by.gateway.on_thread(shown)}, {})


@router.delete("/{webhook_id}", **documented_natively(None, RemovedWebhook))
async def remove_webhook(request: Request, webhook_id: str) -> Response:
    """Remove a webhook. What was not delivered to it yet is dropped."""
    by = await caller(request, "admin")
    await by.gateway.on_thread(by.gateway.webhooks.remove, by.tenant, webhook_id)
    return respond({"id": webhook_id, "removed": True}, {})


@router.post("/{webhook_id}/rotate", **documented_natively(Rotation, WebhookWithSecret))
async def rotate_webhook(request: Request, webhook_id: str) -> Response:
    """Give a webhook a new secret, which is shown only once. A while the old one signs too."""
    by = await caller(request, "admin")
    overlap = read(Rotation, await request.body() or b"{}").span()
    store = by.gateway.webhooks
    webhook, secret = await by.gateway.on_thread(store.rotate, by.tenant, webhook_id, overlap)
    last = await by.gateway.on_thread(store.last, webhook)
    return respond({**webhook.public(), "last": last, "secret": secret}, {})


@router.post("/{webhook_id}/test", **documented_natively(None, TestedWebhook))
async def test_webhook(request: Request, webhook_id: str) -> Response:
    """Post an event of the type `webhook.test` now, and return how that went."""
    by = await caller(request, "admin")
    await by.spend(0)
    webhook = await _found(by, webhook_id)
    outcome = await by.gateway.courier.test(webhook)
    delivered = outcome.startswith("HTTP 2")
    return respond({"id": webhook_id, "delivered": delivered, "outcome": outcome}, by.headers)


async def _check_address(by: Caller, url: str) -> None:
    """Raise `InvalidRequest` if the URL may not be called; each delivery looks again.

    A host that has no address now may have one later.
    """
    try:
        async with asyncio.timeout(LOOK_UP_S):
            await address_of(url, by.gateway.settings.gateway_webhook_networks)
    except (NoAddress, TimeoutError, ValueError):  # what is no URL is refused as one
        return
    except NotAllowed as error:
        raise InvalidRequest(str(error), field="url") from None


async def _found(by: Caller, webhook_id: str) -> Webhook:
    return await by.gateway.on_thread(by.gateway.webhooks.get, by.tenant, webhook_id)
