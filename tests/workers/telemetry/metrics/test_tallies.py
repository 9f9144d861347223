"""A tally is scraped as a counter or histogram of Prometheus' own client would be."""

from __future__ import annotations

import random
import threading

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from forebay.workers.telemetry.metrics.tallies import Tallies

BOUNDS = (0.005, 0.1, 1, 30, 3_600)


def scraped(registry, generate=generate_latest) -> set[str]:
    lines = generate(registry).decode().splitlines()
    return {line for line in lines if "_created" not in line}


@pytest.mark.parametrize("generate", [generate_latest, generate_openmetrics])
def test_it_reads_like_prometheus_own_also_for_values_on_a_bound(generate):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = Tallies(ours)
    counted = tallies.counter("jobs", "Jobs", "kind", "lane")
    measured = tallies.histogram(BOUNDS, "seconds", "Time", "kind")
    counter = Counter("forebay_jobs", "Jobs", ["kind", "lane"], registry=theirs)
    histogram = Histogram("forebay_seconds", "Time", ["kind"], buckets=BOUNDS, registry=theirs)
    draw = random.Random(7)
    for kind in ("embed", 'with "quotes"'):
        for value in (0.0, *BOUNDS, 7_200, *(draw.expovariate(0.1) for _ in range(50))):
            counted.add(kind, "local", amount=value)
            counter.labels(kind, "local").inc(value)
            measured.add(kind, amount=value)
            histogram.labels(kind).observe(value)
    assert scraped(ours, generate) == scraped(theirs, generate)


def test_no_addition_of_several_threads_is_lost_while_others_scrape():
    registry = CollectorRegistry()
    tallies = Tallies(registry)
    counted = tallies.counter("jobs", "Jobs", "kind")

    def add() -> None:
        for number in range(2_000):
            with tallies.lock:
                counted.add(str(number % 50))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        scraped(registry)
    values = [registry.get_sample_value("forebay_jobs_total", {"kind": str(i)}) for i in range(50)]
    assert sum(values) == 8_000
