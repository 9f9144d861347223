"""A time limit of a whole call, head and body, kept by cutting its connection.

The time-out of a socket starts again with every byte that comes, so it never ends a response that
comes one byte a second.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from forebay.workers.frontier.responses.alarms import Alarms

_alarms = Alarms()
_sending = threading.local()  # `limit`: that of the request which this thread sends


class TimeLimit:
    """Cuts the connection of a call that takes longer than so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._start(seconds)

    def _start(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        _alarms.set(self, self._until, self._cut)

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._until

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Watch the connection on which this thread sends a request."""
        _sending.limit = self
        try:
            yield
        except BaseException:
            self.end()
            raise
        finally:
            del _sending.limit

    def watch(self, connection: socket.socket) -> None:
        """Cut this connection when the time is over."""
        with self._lock:
            self._socket = connection
        if self.is_over:  # it took too long to connect
            self._cut()

    def shorten(self, seconds: float) -> None:
        """Cut the connection after so many seconds from now, if not before."""
        if seconds < self._until - time.monotonic():
            self._start(seconds)

    def end(self) -> None:
        """Leave the connection alone from now on: the response has come, or was given up."""
        _alarms.cancel(self)
        with self._lock:
            self._socket = None

    def _cut(self) -> None:
        with self._lock:
            if self._socket is not None:
                try:
                    # As a plain socket: TLS's own shutdown would change what a thread now reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:
                    return  # it is closed


class Limited:
    """A connection of urllib3 that the limit of its request watches (to be mixed in)."""

    sock: Any

    def connect(self) -> None:
        """Open the connection. Its time-out bounds this and the handshake of TLS as a whole."""
        super().connect()  # type: ignore[misc]  # of the other base
        self._watch()

    def putrequest(self, *args: Any, **options: Any) -> Any:
        """Begin a request, whose body the peer may read as slowly as it answers."""
        self._watch()
        return super().putrequest(*args, **options)  # type: ignore[misc]  # of the other base

    def _watch(self) -> None:
        limit = getattr(_sending, "limit", None)
        if limit is not None and self.sock is not None:
            limit.watch(self.sock)


class _Connection(Limited, HTTPConnection):
    pass


class _TlsConnection(Limited, HTTPSConnection):
    pass


class LimitedPool(HTTPConnectionPool):
    """A pool of such connections."""

    ConnectionCls = _Connection


class LimitedTlsPool(HTTPSConnectionPool):
    """A pool of such connections with TLS."""

    ConnectionCls = _TlsConnection
