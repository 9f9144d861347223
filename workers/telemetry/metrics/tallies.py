"""Counters and histograms that cost a job little: adding to one is an update of a dictionary.

The forms that Prometheus reads are made when it scrapes, from sums by labels.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class Tallies(Collector):
    """The counters and histograms of one registry, which are scraped together.

    Hold `lock` while you add to any of them: several threads work jobs.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lock = threading.Lock()
        self._tallies: list[CounterTally | HistogramTally] = []
        registry.register(self)

    def counter(self, name: str, text: str, *labels: str) -> CounterTally:
        """Add a counter whose name begins with `forebay_`."""
        tally = CounterTally(f"forebay_{name}", text, labels)
        self._tallies.append(tally)
        return tally

    def histogram(
        self, bounds: tuple[float, ...], name: str, text: str, *labels: str
    ) -> HistogramTally:
        """Add a histogram whose name begins with `forebay_`.

        Args:
            bounds: the upper bounds of its buckets, the smallest first.
            name: its name.
            text: what it measures.
            labels: the names of its labels.
        """
        tally = HistogramTally(f"forebay_{name}", text, labels, bounds)
        self._tallies.append(tally)
        return tally

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        with self.lock:
            families = [tally.family() for tally in self._tallies]
        yield from families


class CounterTally:
    """Sums by labels."""

    def __init__(self, name: str, text: str, labels: Labels) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._sums: defaultdict[Labels, float] = defaultdict(float)

    def add(self, *values: str, amount: float = 1) -> None:
        """Add to the sum of these labels."""
        self._sums[values] += amount

    def family(self) -> Metric:
        """Return the sums in the form of Prometheus' client."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, total in self._sums.items():
            family.add_metric(values, total)
        return family


class HistogramTally:
    """How many values fell between which bounds, and their sum, by labels."""

    def __init__(self, name: str, text: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self._names = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._counts: defaultdict[Labels, list[int]] = defaultdict(lambda: [0] * len(self._names))
        self._sums: defaultdict[Labels, float] = defaultdict(float)

    def add(self, *values: str, amount: float) -> None:
        """Add one value under these labels."""
        self._counts[values][bisect_left(self._bounds, amount)] += 1
        self._sums[values] += amount

    def family(self) -> Metric:
        """Return the counts in the form of Prometheus' client: each bucket holds those below it."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for values, counts in self._counts.items():
            buckets = list(zip(self._names, map(float, accumulate(counts)), strict=True))
            family.add_metric(values, buckets, self._sums[values])
        return family
