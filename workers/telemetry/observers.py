"""The hooks that every worker of a fleet has."""

from __future__ import annotations

from forebay.workers.runtime.hooks import Observer
from forebay.workers.telemetry.celery_events import CeleryEvents
from forebay.workers.telemetry.job_log import JobLog


def observers() -> tuple[Observer, ...]:
    """Return the hooks of this process. Call it once, before the Celery worker starts."""
    return JobLog(), CeleryEvents()
