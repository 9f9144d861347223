"""Where spans go: to a collector, by OTLP over HTTP, if the standard OTEL_* variables name one."""

from __future__ import annotations

import os

from forebay.routing.errors import Misconfigured
from forebay.routing.tracing.sampling import ARGUMENT, SAMPLER, sampling
from forebay.routing.tracing.spans import look_again

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def endpoint_variable() -> str | None:
    """Return the variable that names a collector; `None` if none does, or tracing is disabled."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    return next((name for name in ENDPOINTS if os.environ.get(name)), None)


def start(service: str, instance: str = "", *, always: bool = False) -> None:
    """Record spans in this process and send them, if the environment names a collector.

    A program that has set up OpenTelemetry itself keeps its own provider.

    Args:
        service: the name of the service, unless OTEL_SERVICE_NAME gives another.
        instance: the name of this process, such as Celery's name of a worker.
        always: every trace that begins here is recorded, unless the environment says otherwise.

    Raises:
        Misconfigured: A collector is named and the packages of the extra `otel` are missing, or
            the share of traces is no number from 0 to 1.
    """
    variable = endpoint_variable()
    if variable is None:
        return
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra, and only for who traces
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - as above
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415 - as above
    except ImportError:
        hint = "needs OpenTelemetry's SDK and its OTLP exporter: install the extra `otel`"
        raise Misconfigured(hint, field=variable) from None
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    about = named | ({"service.instance.id": instance} if instance else {})
    ratio = sampling().ratio  # also checks what the environment says
    if always and not os.environ.get(ARGUMENT):
        ratio = 1.0
    # A sampler that the environment names is made by OpenTelemetry itself.
    sampler = None if os.environ.get(SAMPLER) else ParentBasedTraceIdRatio(ratio)
    provider = TracerProvider(sampler, Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    look_again()
