"""Kombu's Redis transport, changed in one way: garbage in a queue does not end the worker."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from kombu.transport import redis
from redis.exceptions import DataError

from forebay.routing.logs import Event, event

log = logging.getLogger(__name__)


#: What kombu and Celery raise for garbage. An empty queue and a lost connection raise other errors.
_GARBAGE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RecursionError, DataError)


class _DropsGarbage:
    """Mixed into kombu's channel: drops entries of a queue that are not messages.

    Unchanged, kombu ends every worker that reads such an entry, or keeps the entry unacknowledged
    for ever. If the entry should have been a doorbell, the sweeper rings again.
    """

    qos: Any
    basic_ack: Any

    def _brpop_read(self, **options: Any) -> Any:
        before = set(self.qos._delivered)  # noqa: SLF001 - kombu has no public name for it
        try:
            return super()._brpop_read(**options)  # type: ignore[misc] # see `dropping_garbage`
        except _GARBAGE_ERRORS as error:
            tags = set(self.qos._delivered) - before  # noqa: SLF001 - as above
            if isinstance(error, AttributeError) and not tags:
                raise  # the channel is closed: kombu opens a new connection
            log.warning(
                "an entry of a queue is not a message (%s)",
                type(error).__name__,
                extra=event(Event.QUEUE_GARBAGE),
            )
            for tag in tags:
                self.basic_ack(tag)
            return True


@cache
def dropping_garbage(transport: Any) -> Any:
    """Return the transport with channels that drop garbage; unchanged if it does not use Redis."""
    if not issubclass(transport, redis.Transport):
        return transport
    channel = type("Channel", (_DropsGarbage, transport.Channel), {})
    return type(transport.__name__, (transport,), {"Channel": channel})
