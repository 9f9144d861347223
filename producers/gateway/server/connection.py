"""A connection of a client: bounds of the head of a request, and of the wait for it."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from forebay.producers.gateway.errors import Fault
from forebay.producers.gateway.shapes import native_error

MAX_HEAD_BYTES = 64 * 1024  # of a request line and its headers, beyond one read of the socket
HEAD_S = 20.0  # for all of the head; also for the first one of a connection
BODY_S = 60.0  # without another piece of the body


class Connection(HttpToolsProtocol):
    """Uvicorn's connection, which lets nobody hold memory or a connection with half a request.

    1. Ends a connection whose request has no whole head within `HEAD_S`, or whose body stands
       still for `BODY_S`.
    2. Refuses a head that is too large, before all of it is in memory.
    3. Refuses what is no HTTP in the shape of all other errors.
    """

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            words = f"the headers must have at most {MAX_HEAD_BYTES} bytes"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, words)

    def on_message_begin(self) -> None:
        """Begin to wait for the head of a request."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._wait(HEAD_S)

    def on_headers_complete(self) -> None:
        """Begin to wait for the body."""
        super().on_headers_complete()
        self._in_head, self._head_bytes = False, 0
        self._wait(BODY_S)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, and wait for the next."""
        super().on_body(body)
        self._wait(BODY_S)

    def on_message_complete(self) -> None:
        """Wait for nothing: the request is there."""
        super().on_message_complete()
        self._wait(None)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "this is no valid HTTP request")
        del msg  # uvicorn's words say no more

    def _wait(self, within_s: float | None) -> None:
        """End the connection unless the next step of a request comes in time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if within_s is None else self.loop.call_later(within_s, self._end)

    def _end(self) -> None:
        if self.flow.read_paused:  # it is the gateway that is slow
            self._wait(BODY_S)
        else:
            self.transport.abort()

    def _refuse(self, status: HTTPStatus, words: str) -> None:
        fault = Fault(status, status.phrase.lower().replace(" ", "_"), words)
        body = to_json(native_error(fault, ""))
        head = [
            f"HTTP/1.1 {status.value} {status.phrase}", "content-type: application/json",
            f"content-length: {len(body)}", "connection: close", "", "",
        ]  # fmt: skip
        self.transport.write("\r\n".join(head).encode() + body)
        self.transport.close()
