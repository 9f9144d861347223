# ruff: noqa: PLC0415 - most fleets have no map, and a command answers sooner without its modules
"""Opens the ledger of a tenant: over its fleets if there is a map, or else over the one Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import redis
import redis.asyncio

from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.connection import close_on_loop, connect_on_loop
from forebay.routing.store.on_loop.loop_redis import LoopRedis

if TYPE_CHECKING:
    from forebay.routing.fleets.map_file import MapFile
    from forebay.routing.fleets.tenant_fleets import Connect


@cache
def map_file(path: Path) -> MapFile:
    """Return the map in a file; all of this process share it.

    Raises:
        Misconfigured: The map is wrong.
    """
    from forebay.routing.fleets.map_file import MapFile

    return MapFile(path)


def open_ledger(settings: Settings, tenant: str, connect: Connect) -> Ledger:
    """Return the ledger of a tenant for its producers. It connects when it is first used.

    Args:
        settings: with a map of fleets, or the address of the one Redis.
        tenant: whose ledger it is.
        connect: makes the connection to the Redis of these settings.

    Raises:
        Misconfigured: The map or an address is wrong.
    """
    if settings.fleets is None:
        return Ledger(connect(settings), settings, packaged_template)
    from forebay.routing.fleets.tenant_fleets import TenantFleets
    from forebay.routing.fleets.tenant_ledger import TenantLedger

    fleets = TenantFleets(map_file(settings.fleets), settings, tenant, connect)
    return TenantLedger(fleets, settings)


async def connections_on_loop(lent: redis.asyncio.Redis | None) -> AsyncGenerator[Connect]:
    """Yield what makes connections of this event loop, which are closed with it.

    Args:
        lent: a client to use instead of new ones; it is not closed.
    """
    opened: list[redis.asyncio.Redis] = []
    made: list[LoopRedis] = []

    def connect(settings: Settings) -> redis.Redis:
        if lent is None:
            opened.append(connect_on_loop(settings))
        made.append(LoopRedis(lent or opened[-1]))
        return made[-1]

    try:
        yield connect
    finally:
        for blocking in made:
            await blocking.close_lines()
        for client in opened:
            await close_on_loop(client)
