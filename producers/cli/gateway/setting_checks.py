"""The check of `forebay doctor` on the settings of the gateway and its status page."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.producers.gateway.settings import GatewaySettings
from forebay.producers.gateway.status.settings import StatusSettings
from forebay.routing.diagnostics import Finding
from forebay.routing.errors import Misconfigured
from forebay.routing.settings import read


def gateway_settings() -> Iterator[Finding]:
    """Check the values of the gateway's settings, as far as this shell has any."""
    for cls in (GatewaySettings, StatusSettings):
        try:
            read(cls)
        except Misconfigured as error:
            mend = "deploy/env.example explains each setting"
            yield Finding("settings", "fail", str(error), mend)
