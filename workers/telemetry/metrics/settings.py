"""Settings of a worker's metrics."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from forebay.routing.settings import EnvironmentSettings


class MetricsSettings(EnvironmentSettings):
    """Whether and where a worker serves metrics for Prometheus.

    Attributes:
        metrics_port: of `http://host:port/metrics`; each worker of a machine needs its own. 0 is
            any free port, which the log names. `None` serves no metrics.
        metrics_host: the address to listen at. Metrics name tenants and models.
        metrics_tenants: how many tenants have labels of their own; the rest count as `other`.
    """

    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    metrics_host: str = "127.0.0.1"
    metrics_tenants: int = Field(50, ge=0, le=10_000)
