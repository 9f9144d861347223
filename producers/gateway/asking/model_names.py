"""What the name of a model asks for: a lane or a kind of job. Names are policy, not weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    """

    lane: Pin | None = None
    kind: Kind | None = None


def target(name: str, tenant: str, policy: Policy, aliases: Mapping[str, str]) -> Target:
    """Return what the name of a model asks for.

    Raises:
        UnknownModel: There is no model of this name; the message lists those there are.
    """
    name = aliases.get(name, name)
    if name in LANES:
        return Target(lane=None if name == "auto" else LANES[name])
    owner, _, kind = name.partition("/")
    if owner == OWNER and kind in KINDS:
        return Target(kind=kind)
    models = policy.models(tenant)
    if models[:1] == (name,):
        return Target(lane="bedrock")
    if name in models:
        words = f"the policy prefers {models[0]}, and a job cannot choose among the models"
        raise UnknownModel(words, field="model")
    known = ", ".join(names(tenant, policy, aliases))
    raise UnknownModel(f"there is no such model; there are {known}", field="model")


def asked_of(caller: Caller, name: str) -> Target:
    """Return what the name of a model asks for, for the tenant of this caller.

    Raises:
        UnknownModel: The tenant has no model of this name.
    """
    gateway = caller.gateway
    return target(name, caller.tenant, gateway.policy.current(), gateway.settings.gateway_models)


def names(tenant: str, policy: Policy, aliases: Mapping[str, str]) -> Iterator[str]:
    """Yield the names that a tenant may use."""
    models = policy.models(tenant)
    yield "auto"
    yield "local"
    if models:
        yield "bedrock"
    yield from (f"{OWNER}/{kind}" for kind in KINDS)
    yield from models[:1]
    yield from aliases
