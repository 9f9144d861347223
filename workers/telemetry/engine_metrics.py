"""Metrics of the engines of this worker: how full their batch is, how often they were restarted."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from forebay.workers.engines.host.supervisor import open_engines


class EngineMetrics(Collector):
    """Reads the engines' figures when they are asked for."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all engines that are open in this process."""
        labels = ["engine", "model"]
        slots = GaugeMetricFamily("forebay_engine_slots", "Size of the batch", labels=labels)
        busy = GaugeMetricFamily("forebay_engine_requests", "Requests in the engine", labels=labels)
        restarts = CounterMetricFamily("forebay_engine_restarts", "Restarts", labels=labels)
        for engine in open_engines():
            info = engine.info()
            values = [info.engine, info.model]
            slots.add_metric(values, info.slots)
            busy.add_metric(values, engine.requests)
            restarts.add_metric(values, engine.restarts)
        yield from (slots, busy, restarts)
