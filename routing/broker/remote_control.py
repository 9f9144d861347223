"""Celery's remote control, reduced to commands that look.

Whoever may publish to Redis can send a control command to all workers. `shutdown`, `rate_limit` or
`cancel_consumer` would let a viewer of the fleet stop it, so workers do not know these commands.
Operators stop workers by signals, and choose queues with `-Q`.
"""

from __future__ import annotations

from typing import Any

#: `enable_events` stays because Flower sends it. It changes nothing: workers send events anyway.
HARMLESS = frozenset({
    "active", "active_queues", "clock", "conf", "enable_events", "ping", "query_task", "registered",
    "report", "reserved", "revoked", "scheduled", "stats",
})  # fmt: skip


def remove_changing_commands() -> None:
    """Make the workers of this process refuse every control command that is not `HARMLESS`."""
    # Importing it takes a while, and only workers need it.
    from celery.worker.control import Panel  # noqa: PLC0415

    for name in set(Panel.data) - HARMLESS:
        Panel.data[name] = _refuse


def _refuse(_state: Any, **_arguments: Any) -> dict[str, str]:
    return {"error": "Forebay's workers do not take this command: send a signal to the process"}
