"""How a call to a frontier model is made, beside its prompt and its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.routing.limits.prices import Prices, Tier
from forebay.routing.policy.capabilities import Capabilities
from forebay.routing.policy.tables import Endpoint


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a call. A provider leaves out what its service does not know.

    Attributes:
        base: id of the model behind an opaque inference profile, as the price list spells it;
            empty if the model's id says it.
        can: what the model takes and offers; `None` to go by the packaged list.
        tier: the service tier to ask for.
        effort: the effort to ask for; empty for the model's own.
        caches: the system prompt is to be kept in the prompt cache.
        endpoint: the service to call in place of Bedrock, by name.
        labels: ids that go along for the provider's own log: never content.
    """

    base: str = ""
    can: Capabilities | None = None
    tier: Tier = "default"
    effort: str = ""
    caches: bool = False
    endpoint: tuple[str, Endpoint] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def capabilities(self, base: str) -> Capabilities:
        """Return what a model can: as the terms say, else as the packaged price list says."""
        return self.can or Prices.packaged().capabilities(base)


PLAIN = Terms()
