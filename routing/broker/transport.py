"""Kombu's Redis transport, but for one thing: what is no message does not end the worker."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from kombu.transport import redis
from redis.exceptions import DataError

log = logging.getLogger(__name__)


class _Outlives:
    """Of a channel: throws away what lies in a queue and is no message of ours.

    Left alone, a few bytes of garbage end every worker that takes them off, or stay in its hand for
    ever. Should a doorbell have been meant by them, the sweeper rings again.
    """

    qos: Any
    basic_ack: Any

    def _brpop_read(self, **options: Any) -> Any:
        held = set(self.qos._delivered)  # noqa: SLF001 - kombu has no other name for it
        try:
            return super()._brpop_read(**options)  # type: ignore[misc] # see `outliving`
        except _GARBAGE as error:
            taken = set(self.qos._delivered) - held  # noqa: SLF001 - as above
            if isinstance(error, AttributeError) and not taken:
                raise  # kombu's, of a channel that is closed already: the connection is made anew
            log.warning("what lay in a queue is no message (%s)", type(error).__name__)
            for tag in taken:
                self.basic_ack(tag)
            return True


#: What kombu and Celery raise of it; an empty queue and a lost connection are none of these.
_GARBAGE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, DataError)


@cache
def outliving(transport: Any) -> Any:
    """The same transport with such channels; one that is not on Redis as it is."""
    if not issubclass(transport, redis.Transport):
        return transport
    channel = type("Channel", (_Outlives, transport.Channel), {})
    return type(transport.__name__, (transport,), {"Channel": channel})
