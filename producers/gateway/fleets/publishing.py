"""Publishes in each fleet which map this process follows: see `followed_maps.py`."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from forebay.producers.gateway.fleets.gateways import Gateways
from forebay.producers.gateway.gateway import Gateway
from forebay.routing.errors import ForebayError
from forebay.routing.fleets import followed_maps

LOOK_EVERY_S = 1.0


async def publish_map(gateways: Gateways) -> None:
    """Publish the map when it has changed, and now and then, until this is cancelled."""
    published, at = "", 0.0
    while (version := gateways.map_version()) is not None:
        now = time.monotonic()
        if version != published or now - at > followed_maps.PUBLISH_EVERY_S:
            await _publish(gateways, version)
            published, at = version, now
        await asyncio.sleep(LOOK_EVERY_S)


async def _publish(gateways: Gateways, version: str) -> None:
    await asyncio.gather(*(_publish_in(gateway, version) for gateway in gateways.all()))


async def _publish_in(gateway: Gateway, version: str) -> None:
    with suppress(ForebayError):  # the fleet is away, or its user may not: answering goes on
        await gateway.on_thread(followed_maps.publish, gateway.redis, version)
