"""The settings of the status page, read from `FOREBAY_STATUS_*`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from forebay.routing.settings import EnvironmentSettings


class StatusSettings(EnvironmentSettings):
    """Where the page reads, and what it lets people do.

    Attributes:
        status_only: serve the page, health and metrics alone, and no jobs.
        status_redis_url: Redis as the operator's user, who may look at all tenants. If not set, the
            page reads as the gateway does.
        status_fleets: the same for several fleets: a map whose URLs name the operator's users.
        status_replay: let keys with the scope `admin` replay dead jobs.
        status_secret: signs the cookies of the page. `forebay serve` makes one for its processes;
            set it if several gateways stand behind one address.
    """

    status_only: bool = False
    status_redis_url: Annotated[str | None, Field(repr=False)] = None
    status_fleets: Path | None = None
    status_replay: bool = False
    status_secret: Annotated[SecretStr | None, Field(min_length=24)] = None
