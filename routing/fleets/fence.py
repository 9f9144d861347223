"""The fence: a key in the Redis of a fleet that refuses the new jobs of a tenant who moves away.

Keys:  fb:moved:<tenant>  string  '<fleet> <phase>': the fleet of the tenant's new jobs, and how far
                                  the move is
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import redis

from forebay.routing.errors import Unavailable
from forebay.routing.store.connection import reaching_redis

#: `draining`: jobs from before end here. `carrying`: what else belongs to the tenant is copied, so
#: nobody may change it. `carried`: all of it belongs to the other fleet. `returning`: the tenant
#: goes back to the other fleet before it was carried from there, so all of it is there still.
Phase = Literal["draining", "carrying", "carried", "returning"]


CARRYING_RETRY_AFTER_S = 1


class Fence(NamedTuple):
    """Where a tenant moves or has moved, and how far the move is."""

    to: str
    phase: Phase


def key(tenant: str) -> str:
    """Return the key of a tenant's fence."""
    return f"fb:moved:{tenant}"


def read(client: redis.Redis, tenant: str) -> Fence | None:
    """Return the fence of a tenant in a fleet; `None` if the fleet takes the tenant's jobs.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    with reaching_redis():
        stored: Any = client.get(key(tenant))
    if not stored:
        return None
    fleet, _, phase = stored.decode("utf-8", "replace").partition(" ")
    return Fence(fleet, cast("Phase", phase))


def leaves(client: redis.Redis, tenant: str) -> bool:
    """Return whether a tenant moves away from a fleet, or has moved; raise as `read` does."""
    return read(client, tenant) is not None


def home(places: Sequence[str], old: Fence | None, tenant: str) -> str:
    """Return the name of the fleet to which all belongs that a tenant has besides jobs.

    Args:
        places: the fleets of the map: the new one, and while the tenant is moved the old one.
        old: the fence of the old one.
        tenant: who it is.

    Raises:
        Unavailable: It is being carried at this moment.
    """
    if old is None or old.phase == "draining":
        return places[-1]
    if old.phase == "carrying":
        raise Unavailable(
            f"tenant {tenant} is being carried to fleet {old.to}, try again in a moment",
            retry_after=CARRYING_RETRY_AFTER_S,
        )
    return places[0]


def put(client: redis.Redis, tenant: str, fence: Fence) -> None:
    """Refuse new jobs of the tenant from now on."""
    with reaching_redis():
        client.set(key(tenant), f"{fence.to} {fence.phase}")


def remove(client: redis.Redis, tenant: str) -> None:
    """Take new jobs of the tenant again."""
    with reaching_redis():
        client.delete(key(tenant))
