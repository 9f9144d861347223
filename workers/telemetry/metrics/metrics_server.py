"""Serves the metrics of this worker over HTTP, from threads of its own."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import worker_init
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from forebay.routing.errors import Misconfigured
from forebay.routing.logs import Event, event
from forebay.workers.runtime.start_up import give_up
from forebay.workers.telemetry.metrics.settings import MetricsSettings

log = logging.getLogger(__name__)


class MetricsServer:
    """Opens `http://host:port/metrics` when the Celery worker starts.

    Attributes:
        registry: what is served; collectors are registered in it.
    """

    def __init__(self, settings: MetricsSettings) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._settings = settings
        worker_init.connect(self._start, weak=False)

    def _start(self, **_: Any) -> None:
        """Listen; end the worker with one line if the port cannot be had."""
        host, port = self._settings.metrics_host, self._settings.metrics_port or 0
        try:
            server, _thread = start_http_server(port, host, self.registry)
        except OSError as error:
            hint = f"cannot listen at {host}:{port}: {error.strerror or type(error).__name__}"
            give_up(Misconfigured(hint, field="FOREBAY_METRICS_PORT"))
        address = f"http://{host}:{server.server_port}/metrics"
        log.info("metrics at %s", address, extra=event(Event.METRICS_READY))
