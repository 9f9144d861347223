"""The commands `forebay webhooks …`: where tenants are told that their jobs have ended."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from forebay.producers.cli import display
from forebay.producers.cli.clients import current_tenant
from forebay.producers.cli.gateway.spans import read_span
from forebay.producers.cli.options import TenantName
from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.terminal.options import Json, argument, flag, group, option

if TYPE_CHECKING:
    from forebay.producers.gateway.gateway import Gateway

_HEADER = ("ID", "URL", "EVENTS", "CONTENT", "LAST DELIVERY")
MAX_EVENTS_SHOWN = 3

T = TypeVar("T")

app = group("Be told over HTTP when jobs, bulks and batches end.")

Url = Annotated[str, argument("URL", "Where events are posted: https://…")]
WebhookId = Annotated[str, argument("ID", "The id of the webhook, as `list` shows it.")]
EventName = Annotated[
    list[str] | None,
    option(
        "--event",
        "NAME",
        "A type of event, such as job.failed or batch.completed. May be repeated. "
        "Default: all of jobs, bulks and batches",
    ),
]
Overlap = Annotated[str, option("--overlap", "SPAN", "So long the old secret signs too: 2h, 1d.")]
WithContent = Annotated[
    bool, flag("--content", "Send the answers of jobs whose egress is allow, too.")
]


@app.command()
def add(
    url: Url,
    *,
    tenant: TenantName = None,
    event: EventName = None,
    content: WithContent = False,
    as_json: Json = False,
) -> None:
    """Add a webhook and print the secret that signs its events. It is printed only once."""
    with _gateway(current_tenant(tenant)) as gateway:
        try:
            webhook, secret = gateway.webhooks.add(
                current_tenant(tenant), url, events=event or (), content=content
            )
        except InvalidJob as error:
            field = (error.field or "url").partition(".")[0]
            raise Misconfigured(error.message, field=field) from None
    if as_json:
        display.document({**webhook.public(), "secret": secret})
        return
    display.text(secret)
    display.note(f"webhook {webhook.id} of tenant {webhook.tenant}")


@app.command("list")
def print_list(*, tenant: TenantName = None, as_json: Json = False) -> None:
    """List the webhooks of a tenant, with the last outcome of each."""
    with _gateway(current_tenant(tenant)) as gateway:
        store = gateway.webhooks
        found = [(each, store.last(each)) for each in store.list(current_tenant(tenant))]
    if as_json:
        display.document([{**webhook.public(), "last": last} for webhook, last in found])
    elif found:
        display.table(_HEADER, [
            (
                webhook.id, webhook.url, _events(webhook.events),
                "yes" if webhook.content else "no",
                "disabled" if webhook.disabled else last["outcome"] if last else "-",
            )
            for webhook, last in found
        ])  # fmt: skip
    else:
        display.note("no webhooks; `forebay webhooks add URL` makes one")


@app.command()
def rotate(
    webhook_id: WebhookId,
    *,
    tenant: TenantName = None,
    overlap: Overlap = "1d",
    as_json: Json = False,
) -> None:
    """Give a webhook a new secret and print it. For a while events are signed with both."""
    span = read_span(overlap, "--overlap") or timedelta()
    with _gateway(current_tenant(tenant)) as gateway:
        webhook, secret = gateway.webhooks.rotate(current_tenant(tenant), webhook_id, span)
    if as_json:
        display.document({**webhook.public(), "secret": secret})
        return
    display.text(secret)
    display.note(f"until {overlap} from now the old secret signs too")


@app.command()
def remove(webhook_id: WebhookId, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Remove a webhook. What was not delivered to it yet is dropped."""
    with _gateway(current_tenant(tenant)) as gateway:
        gateway.webhooks.remove(current_tenant(tenant), webhook_id)
    display.result({"id": webhook_id, "removed": True}, "removed", as_json=as_json)


@app.command("test")
def send_test(webhook_id: WebhookId, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Post a test event from this machine and print the outcome."""
    with _gateway(current_tenant(tenant)) as gateway:
        webhook = gateway.webhooks.get(current_tenant(tenant), webhook_id)
        outcome = _run(gateway.courier.test(webhook))
    delivered = outcome.startswith("HTTP 2")
    display.result(
        {"id": webhook_id, "delivered": delivered, "outcome": outcome}, outcome, as_json=as_json
    )
    if not delivered:
        raise typer.Exit(display.FAILURE)


@contextmanager
def _gateway(tenant: str) -> Iterator[Gateway]:
    from forebay.routing.settings import read, read_settings  # noqa: PLC0415 - pydantic is slow

    try:
        from forebay.producers.gateway.fleets.gateways import (  # noqa: PLC0415 - an extra
            Gateways,
        )
        from forebay.producers.gateway.settings import GatewaySettings  # noqa: PLC0415 - an extra
    except ImportError as error:
        hint = f"needs the module {error.name}, which is missing: install the extra `gateway`"
        raise Misconfigured(hint, field="webhooks") from None
    gateways = Gateways(read(GatewaySettings), read_settings())
    try:
        yield gateways.home(tenant)
    finally:
        _run(gateways.close())


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # noqa: PLC0415 - it is slow, and only two commands need it

    return asyncio.run(work)


def _events(names: tuple[str, ...]) -> str:
    more = len(names) - MAX_EVENTS_SHOWN
    return ", ".join(names[:MAX_EVENTS_SHOWN]) + (f" and {more} more" if more > 0 else "")
