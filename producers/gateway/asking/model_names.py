"""What the name of a model asks for: a lane or a kind of job. Names are policy, not weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.errors import UnknownModel
from forebay.routing.base import KINDS, Kind
from forebay.routing.jobs import Pin
from forebay.routing.policy.policy_file import Policy

OWNER = "forebay"
LANES: Mapping[str, Pin] = {"auto": "auto", "local": "local", "bedrock": "bedrock"}


class Target(NamedTuple):
    """What a model's name asks for.

    Attributes:
        lane: the lane to pin the job to; `None` leaves it to the caller's own fields.
        kind: the kind of the job; `None` leaves it to the endpoint.
        model: the only model that may answer, in that lane.
    """

    lane: Pin | None = None
    kind: Kind | None = None
    model: str | None = None


def target(
    name: str,
    tenant: str,
    policy: Policy,
    aliases: Mapping[str, str],
    served: Collection[str] = (),
) -> Target:
    """Return what the name of a model asks for; `served` are the models of local workers.

    Raises:
        UnknownModel: There is no model of this name; the message lists those there are.
    """
    name = aliases.get(name, name)
    if name in LANES:
        return Target(lane=None if name == "auto" else LANES[name])
    owner, _, kind = name.partition("/")
    if owner == OWNER and kind in KINDS:
        return Target(kind=kind)
    if name in policy.models(tenant):
        return Target(lane="bedrock", model=name)
    if name in served:
        return Target(lane="local", model=name)
    known = ", ".join(names(tenant, policy, aliases, served))
    raise UnknownModel(f"there is no such model; there are {known}", field="model")


async def asked_of(caller: Caller, name: str, kind: Kind = "generate") -> Target:
    """Return what the name of a model asks for, of this caller's tenant and a kind of job.

    Raises:
        UnknownModel: The tenant has no model of this name.
    """
    gateway, tenant = caller.gateway, caller.tenant
    policy, aliases = gateway.policy.current(), gateway.settings.gateway_models
    try:
        return target(name, tenant, policy, aliases)
    except UnknownModel:
        return target(name, tenant, policy, aliases, await gateway.cached.models(tenant, [kind]))


async def names_of(caller: Caller) -> list[str]:
    """Return the names that the tenant of this caller may use."""
    gateway, tenant = caller.gateway, caller.tenant
    policy, aliases = gateway.policy.current(), gateway.settings.gateway_models
    served = await gateway.cached.models(tenant)
    return list(dict.fromkeys(names(tenant, policy, aliases, served)))


def names(
    tenant: str, policy: Policy, aliases: Mapping[str, str], served: Collection[str] = ()
) -> Iterator[str]:
    """Yield the names that a tenant may use."""
    models = policy.models(tenant)
    yield "auto"
    yield "local"
    if models:
        yield "bedrock"
    yield from (f"{OWNER}/{kind}" for kind in KINDS)
    yield from models
    yield from served
    yield from aliases
