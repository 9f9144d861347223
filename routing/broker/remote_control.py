"""Celery's remote control, reduced to commands that look.

Whoever may publish to Redis can send a control command to all workers. `shutdown`, `rate_limit` or
`cancel_consumer` would let a viewer of the fleet stop it, so workers do not know these commands.
Operators stop workers by signals, and choose queues with `-Q`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from forebay.routing.logs import Event, event

log = logging.getLogger(__name__)

#: `enable_events` stays because Flower sends it. It changes nothing: workers send events anyway.
HARMLESS = frozenset({
    "active", "active_queues", "clock", "conf", "enable_events", "ping", "query_task", "registered",
    "report", "reserved", "revoked", "scheduled", "stats",
})  # fmt: skip


def remove_changing_commands() -> None:
    """Make the workers of this process refuse every control command that is not `HARMLESS`."""
    # Importing these takes a while, and only workers need them.
    from celery.worker.control import Panel  # noqa: PLC0415
    from kombu.matcher import MatcherNotInstalled, unregister  # noqa: PLC0415
    from kombu.pidbox import Node  # noqa: PLC0415

    for name in set(Panel.data) - HARMLESS:
        Panel.data[name] = _refuse
    with suppress(MatcherNotInstalled):
        unregister("pcre")  # a command may carry a pattern that takes for ever to match a name
    Node.reply, Node.handle_message = _reply, _guarded(Node.handle_message)


def _guarded(handle_message: Callable[..., Any]) -> Callable[..., Any]:
    """Return a handler of commands that a forged one does not break.

    Celery subscribes anew after an error, and a worker that is sent many at once may hear nothing
    from then on.
    """

    def handle(node: Any, body: Any, message: Any = None) -> Any:
        try:
            return handle_message(node, body, message)
        except Exception as error:  # noqa: BLE001 - whatever a forger sent
            log.warning(
                "a broadcast is not a command (%s)", type(error).__name__,
                extra=event(Event.QUEUE_GARBAGE),
            )  # fmt: skip
            return None

    return handle


def _reply(node: Any, data: Any, exchange: str, routing_key: str, ticket: str, **_: Any) -> None:
    """Reply to whoever asked, and not into any list of Redis that a command names."""
    if exchange == node.mailbox.reply_exchange.name:
        node.mailbox._publish_reply(  # noqa: SLF001 - as kombu's own
            data, exchange, routing_key, ticket, channel=node.channel,
            serializer=node.mailbox.serializer,
        )  # fmt: skip


def _refuse(_state: Any, **_arguments: Any) -> dict[str, str]:
    return {"error": "Forebay's workers do not take this command: send a signal to the process"}
