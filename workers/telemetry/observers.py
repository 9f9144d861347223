"""What every worker of a fleet shows of itself and of its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forebay.routing.errors import Misconfigured
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.tracing.exporting import endpoint_variable
from forebay.workers.runtime.hooks import Observer
from forebay.workers.runtime.start_up import give_up, settings_of
from forebay.workers.telemetry.celery_events import CeleryEvents
from forebay.workers.telemetry.job_log import JobLog
from forebay.workers.telemetry.job_tally import JobTally
from forebay.workers.telemetry.job_traces import JobTraces
from forebay.workers.telemetry.metrics.settings import MetricsSettings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The hooks of this process, and its metrics.

    Attributes:
        registry: where further metrics are registered; `None` if none are served.
        tenants: how many tenants have labels of their own.
    """

    observers: tuple[Observer, ...]
    registry: CollectorRegistry | None
    tenants: int

    def add_ledger(self, ledger: LedgerReader) -> None:
        """Also serve the figures of the fleet as a whole, if metrics are served."""
        if self.registry is not None:
            from forebay.workers.telemetry.metrics.ledger_metrics import LedgerMetrics  # noqa: PLC0415 - needs the extra `metrics`

            self.registry.register(LedgerMetrics(ledger, self.tenants))


def telemetry() -> Telemetry:
    """Return what this process shows. Call it once, before the Celery worker starts."""
    observers: list[Observer] = [JobLog(), CeleryEvents(), JobTally()]
    if endpoint_variable():  # a worker without a collector does not even ask for each job
        observers.append(JobTraces())
    settings = settings_of(MetricsSettings)
    registry = None
    if settings.metrics_port is not None:
        registry = _served(settings, observers)
    return Telemetry(tuple(observers), registry, settings.metrics_tenants)


def observers() -> tuple[Observer, ...]:
    """Return the hooks of this process. Call it once, before the Celery worker starts."""
    return telemetry().observers


def _served(settings: MetricsSettings, observers: list[Observer]) -> CollectorRegistry:
    """Have metrics served, and add the observer that counts jobs; return their registry."""
    try:  # these need the extra `metrics`
        from forebay.workers.telemetry.metrics.engine_metrics import EngineMetrics  # noqa: PLC0415
        from forebay.workers.telemetry.metrics.job_metrics import JobMetrics  # noqa: PLC0415
        from forebay.workers.telemetry.metrics.metrics_server import MetricsServer  # noqa: PLC0415
    except ImportError:
        hint = "needs prometheus_client: install the extra `metrics`"
        give_up(Misconfigured(hint, field="FOREBAY_METRICS_PORT"))
    registry = MetricsServer(settings).registry
    registry.register(EngineMetrics())
    observers.append(JobMetrics(registry, settings.metrics_tenants))
    return registry
