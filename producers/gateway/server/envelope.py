"""What surrounds every request: its id, the limit of its body, its figures, and no traceback."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forebay.producers.gateway.errors import GONE, INTERNAL, BodyTooLarge, Refusal, fault_of
from forebay.producers.gateway.server.figures import Figures
from forebay.producers.gateway.shapes import error_response
from forebay.routing.logs import Event, event, place
from forebay.routing.tracing import spans
from forebay.routing.tracing.traceparent import checked

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Envelope:
    """The outermost layer of the application.

    1. Takes a slash off the end of a path. A redirect would name the wrong scheme behind a proxy
       that ends TLS.
    2. Gives each request an id, or keeps the caller's (`x-request-id`), and names it in the
       response, under the name that each client reads.
    3. Refuses a body that is larger than the limit, before it is in memory.
    4. Counts requests and their time, by route and status.
    5. Records a span, which continues the caller's trace (`traceparent`).
    6. Answers an unexpected error with its request's id, and logs its type and place, never its
       message, which may hold content.
    """

    def __init__(
        self, app: ASGIApp, max_body: int, figures: Figures, larger: Mapping[str, int] | None = None
    ) -> None:
        """`larger` holds the paths whose bodies have another limit than `max_body`."""
        self._app = app
        self._max_body, self._larger = max_body, larger or {}
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry out one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope["path"]) > 1 and scope["path"].endswith("/"):
            scope["path"] = scope["path"].rstrip("/") or "/"
        begun, status = time.perf_counter(), 0
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id

        async def reply(message: Message) -> None:
            nonlocal status
            starts = message["type"] == "http.response.start"
            if starts:
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = headers["request-id"] = request_id
            await send(message)
            status = message["status"] if starts else status

        given = checked(Headers(scope=scope).get("traceparent")) or ""
        with (
            self._figures.in_flight(),
            spans.span(scope["method"], kind="server", parent=given, request=request_id) as span,
        ):
            try:
                await self._app(scope, self._limited(scope, receive), reply)
            except Exception as error:  # noqa: BLE001 - no caller ever sees a traceback
                if status:  # the response has begun; the connection ends with it
                    _log(error, request_id)
                    raise ConnectionAbortedError(request_id) from None
                await self._explain(error, request_id, scope, receive, reply)
            finally:
                route = _route(scope)
                span.rename(f"{scope['method']} {route}")
                span.set(http__route=route, http__response__status_code=status or GONE)
                self._figures.count(route, status, time.perf_counter() - begun)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Return `receive`, which raises `BodyTooLarge` once the body is larger than the limit."""
        declared, taken = Headers(scope=scope).get("content-length", "0"), 0
        most = self._larger.get(scope["path"], self._max_body)

        async def limited() -> Message:
            nonlocal taken
            if declared.isdecimal() and int(declared) > most:
                raise _too_large(most)
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise _too_large(most)
            return message

        return limited

    async def _explain(
        self, error: Exception, request_id: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        fault = fault_of(error) if isinstance(error, Refusal) else INTERNAL
        if fault is INTERNAL:
            _log(error, request_id)
        response = error_response(scope, fault, request_id)
        await response(scope, receive, send)


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"must have at most {most} bytes", field="body")


def _log(error: Exception, request_id: str) -> None:
    log.error(
        "request %s broke: %s at %s", request_id, type(error).__name__, place(error),
        extra=event(Event.REQUEST_BROKE, request=request_id),
    )  # fmt: skip


def _request_id(headers: Headers) -> str:
    """Return the caller's id of the request if it is one, or a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{random.getrandbits(96):024x}"


def _route(scope: Scope) -> str:
    """Return the template of the path, so that ids in paths do not multiply the figures."""
    return getattr(scope.get("route"), "path", "other")
