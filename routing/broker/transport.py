"""Kombu's Redis transport, changed in four ways.

What somebody puts into a queue is a doorbell, whatever it says. Garbage among broadcasts does not
end the worker. A message costs no new client of Redis, which took a fifth of the time of Celery's
loop. Doorbells that were taken are kept in memory alone.
"""

from __future__ import annotations

import logging
import secrets
from functools import cache
from itertools import count
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import DataError

from forebay.routing.broker.doorbell import doorbell
from forebay.routing.lanes import is_queue
from forebay.routing.logs import Event, event
from forebay.routing.store.connections.connection_class import BoundedReplies, driver_info

log = logging.getLogger(__name__)

#: Names of doorbells that this process has taken.
_PROCESS, _NUMBERS = secrets.token_hex(4), count(1)

#: How the parts of a fleet write their messages.
_CONTENT_TYPE, _ENCODINGS = "application/json", ("utf-8", None)

#: What kombu and Celery raise for garbage. An empty queue and a lost connection raise other errors.
_GARBAGE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RecursionError, DataError)


class _Taken(virtual.QoS):  # type: ignore[misc] # kombu has no types
    """The doorbells that a worker has taken and not yet answered, in its memory.

    A worker that stops pushes them back onto their queues, so that others answer them at once.
    """

    def restore_unacked(self) -> list[Any]:
        """Push the doorbells back. If Redis is away, drop them: the sweeper rings again."""
        try:
            while self._delivered:
                _, message = self._delivered.popitem()
                self.channel._restore(message)  # noqa: SLF001 - as kombu's own class does
        except Exception as error:  # noqa: BLE001 - whatever a closed connection raises
            log.info(
                "doorbells are left to the sweeper (%s)", type(error).__name__,
                extra=event(Event.QUEUE_LEFT),
            )  # fmt: skip
        self._delivered.clear()
        return []


class _KeepsTaken:
    """Mixed into kombu's channel: without emulated acknowledgements, keeps doorbells in memory."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.QoS = _Taken


class _OneClient:
    """Mixed into kombu's channel: keeps its client, which kombu makes anew for each message."""

    pool: Any
    _kept: Any = None

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - as in kombu
        """Return the options of a connection, which gives up a reply that takes too long."""
        options = super()._connparams(asynchronous)  # type: ignore[misc] # see `dropping_garbage`
        return {**options, "parser_class": BoundedReplies, "driver_info": driver_info()}

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - as in kombu
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc] # see `dropping_garbage`
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc] # as above
        return self._kept


class _TakesDoorbellsUnread:
    """Mixed into kombu's channel: takes each entry of a queue for a doorbell, whatever it says.

    A doorbell carries nothing, so nothing in it has to be read. Celery does as a message says: it
    holds a task until a date and meanwhile takes no other, publishes to any list of Redis what is
    to follow a task, and unpacks what is compressed. Tenants may write into the router's list.
    """

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - as in kombu
        client = super()._create_client(asynchronous)  # type: ignore[misc] # see `dropping_garbage`
        client.set_response_callback("BRPOP", _as_doorbell)
        return client


def _as_doorbell(taken: Any, **_options: Any) -> Any:
    """Return what was taken from a list, with a fresh doorbell in place of an entry of a queue."""
    if not taken:
        return None
    queue = bytes_to_str(taken[0])
    if not is_queue(queue):  # a reply to a control command
        return taken
    return queue, doorbell(queue, f"{_PROCESS}-{next(_NUMBERS)}")


class _PlainMessage(virtual.Message):  # type: ignore[misc] # kombu has no types
    """A message as parts of a fleet write it. A few bytes that are compressed fill the memory."""

    def __init__(self, payload: Any, **options: Any) -> None:
        about = payload["content-type"], payload["content-encoding"]
        if about[0] != _CONTENT_TYPE or about[1] not in _ENCODINGS:
            raise ValueError("not JSON")
        if payload["headers"].get("compression"):
            raise ValueError("compressed")
        super().__init__(payload, **options)


class _DropsGarbage:
    """Mixed into kombu's channel: drops broadcasts and replies that are not messages.

    Unchanged, kombu ends every process that reads such an entry of a list, or keeps the entry
    unacknowledged for ever.
    """

    Message = _PlainMessage

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
            _tell(error, "a reply is not a message (%s)")
            for tag in tags:
                self.basic_ack(tag)
            return True

    def _handle_message(self, client: Any, response: Any) -> Any:
        """Return a message of Redis; empty what is not JSON, which kombu would log whole."""
        payload = super()._handle_message(client, response)  # type: ignore[misc] # as above
        if bytes_to_str(payload["type"]).endswith("message") and payload["data"]:
            try:
                loads(bytes_to_str(payload["data"]))
            except (TypeError, ValueError) as error:
                _tell(error, "a broadcast is not a message (%s)")
                payload["data"] = b""
        return payload

    def _receive_one(self, client: Any) -> Any:
        """Receive what was broadcast to workers, or an event; drop it if it is no message."""
        try:
            return super()._receive_one(client)  # type: ignore[misc] # see `dropping_garbage`
        except _GARBAGE_ERRORS as error:
            if client.connection is None:
                raise  # the channel is closed
            _tell(error, "a broadcast is not a message (%s)")
            return None


def _tell(error: Exception, message: str) -> None:
    log.warning(message, type(error).__name__, extra=event(Event.QUEUE_GARBAGE))


_CHANGES = (_KeepsTaken, _DropsGarbage, _TakesDoorbellsUnread, _OneClient)


@cache
def dropping_garbage(transport: Any) -> Any:
    """Return the transport with channels that drop garbage; unchanged if it does not use Redis."""
    if not issubclass(transport, redis.Transport):
        return transport
    channel = type("Channel", (*_CHANGES, transport.Channel), {})
    return type(transport.__name__, (transport,), {"Channel": channel})
