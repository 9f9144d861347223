"""Metrics of the engines of this worker: how full their batch is, how often they were restarted."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from forebay.workers.engines.engine import CardMemory
from forebay.workers.engines.host.supervisor import open_engines

MEMORY = (
    ("forebay_engine_memory_planned_bytes", "Memory of the GPU that the engine planned to take"),
    ("forebay_engine_memory_used_bytes", "Memory of the GPU that it holds after its warm-up"),
    ("forebay_engine_memory_off_plan", "1 if the two differ by more than the plan's tolerance"),
)


class EngineMetrics(Collector):
    """Reads the engines' figures when they are asked for."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all engines that are open in this process."""
        labels = ["engine", "model"]
        slots = GaugeMetricFamily("forebay_engine_slots", "Size of the batch", labels=labels)
        busy = GaugeMetricFamily("forebay_engine_requests", "Requests in the engine", labels=labels)
        restarts = CounterMetricFamily("forebay_engine_restarts", "Restarts", labels=labels)
        pages = GaugeMetricFamily(
            "forebay_engine_cache_pages", "Pages of the KV cache", labels=labels
        )
        used = GaugeMetricFamily(
            "forebay_engine_cache_pages_used", "Of these, held by requests", labels=labels
        )
        memory = [GaugeMetricFamily(name, text, labels=labels) for name, text in MEMORY]
        for engine in open_engines():
            info = engine.info()
            values = [info.engine, info.model]
            slots.add_metric(values, info.slots)
            busy.add_metric(values, engine.requests)
            restarts.add_metric(values, engine.restarts)
            cache = engine.pages()
            pages.add_metric(values, cache.total)
            used.add_metric(values, cache.used)
            for family, value in zip(memory, _memory(info.memory), strict=True):
                family.add_metric(values, value)
        yield from (slots, busy, restarts, pages, used, *memory)


def _memory(card: CardMemory | None) -> tuple[int, int, int]:
    """Return the values of `MEMORY`; zeros for an engine without a GPU."""
    return (card.planned_bytes, card.used_bytes, int(card.off)) if card else (0, 0, 0)
