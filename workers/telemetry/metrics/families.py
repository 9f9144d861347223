"""Gauges in the form of Prometheus' client; their names begin with `forebay_`."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import GaugeMetricFamily


def family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """Return a gauge with labels and without values."""
    return GaugeMetricFamily(f"forebay_{name}", text, labels=labels)


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """Return a gauge with one value."""
    return GaugeMetricFamily(f"forebay_{name}", text, value=value)


def gauge_by(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """Return a gauge with a value for each value of its label."""
    made = family(name, text, label)
    for value, number in values.items():
        made.add_metric([value], number)
    return made
