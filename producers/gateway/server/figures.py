"""The gateway's figures for Prometheus: requests by route and status. Never content, no tenant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from forebay.producers.gateway.errors import GONE

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Figures:
    """Counts the requests of this process, and shows those of all processes of the gateway."""

    def __init__(self, shared_folder: str | None) -> None:
        """`shared_folder` is where the processes of one gateway count together, if there are more.

        prometheus_client takes it from `PROMETHEUS_MULTIPROC_DIR`, which must be set before it is
        imported.
        """
        self._registry = CollectorRegistry()
        self._shared_folder = shared_folder
        self._requests = Counter(
            "forebay_gateway_requests", "Requests answered.", ["route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "forebay_gateway_request_seconds", "Seconds from a request to the end of its response.",
            ["route"], buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._in_flight = Gauge(
            "forebay_gateway_requests_in_flight", "Requests that have no whole response yet.",
            registry=self._registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self._of = cache(self._labelled)  # routes are templates, so there are few

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a request as in flight in this block."""
        self._in_flight.inc()
        try:
            yield
        finally:
            self._in_flight.dec()

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered; a status of 0 means that the client went away."""
        requests, taken = self._of(route, status or GONE)
        requests.inc()
        taken.observe(seconds)

    def _labelled(self, route: str, status: int) -> tuple[Counter, Histogram]:
        """Return the figures of a route; looking them up costs more than counting."""
        return self._requests.labels(route, str(status)), self._seconds.labels(route)

    def exposition(self) -> bytes:
        """Return the figures in Prometheus' text format."""
        registry = self._registry
        if self._shared_folder:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=self._shared_folder)  # type: ignore[no-untyped-call]  # untyped upstream
        return generate_latest(registry)
