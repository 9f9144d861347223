"""How the mock answers an HTTP request: Bedrock's operations, and the plan of faults."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mock_bedrock.batches import NO_BATCH, batch_operation
from mock_bedrock.calls import Call
from mock_bedrock.event_stream import frame
from mock_bedrock.faults import MODELLED_MESSAGE, asked_for, failure, parsed
from mock_bedrock.modelled_errors import stream_errors
from mock_bedrock.parameters import ErrorResponse, require_counting
from mock_bedrock.protocol import ENDINGS, Request, Response, check_signature
from mock_bedrock.spoiled import spoil

if TYPE_CHECKING:
    from mock_bedrock.server import MockBedrock

logger = logging.getLogger("mock-bedrock")

MARK = ("x-forebay-stand-in", "1")
MAX_BODY_BYTES = 25_000_000  # Bedrock's own limit

_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|count-tokens)")


class Server(ThreadingHTTPServer):
    """Serves each connection on a thread of its own."""

    daemon_threads = True
    block_on_close = False  # a hung call does not delay the shutdown
    request_queue_size = 256
    mock: MockBedrock

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the base class
        """Log the class of an error, never its text. A client that hung up is no error."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            logger.error("a connection from %s ended with %s", client_address, type(error).__name__)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    _call: Call | None = None  # the call that is being answered

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Log nothing: a request line may hold content. `_bedrock` logs what is safe."""

    def do_GET(self) -> None:
        """Return the recorded calls, for tests, or answer a call about batch jobs."""
        try:
            if self.path == "/_mock/calls":
                self._send(200, [asdict(call) for call in list(self.server.mock.calls)])
            elif operation := batch_operation("GET", self.path):
                self._batch(operation, b"")
            else:
                self._send_error(ErrorResponse(404, "UnknownOperationException", "no such path"))
        except ErrorResponse as error:
            self._send_error(error)

    def do_POST(self) -> None:
        """Answer a call of Bedrock, or replace the plan of faults."""
        size = int(self.headers.get("content-length") or 0)
        if size > MAX_BODY_BYTES:
            self.close_connection = True
            self._send_error(ErrorResponse(413, "RequestEntityTooLargeException", "too large"))
            return
        body = self.rfile.read(size)
        if len(body) < size:  # the caller died while it was sending: that is no call
            self.close_connection = True
            return
        operation = _PATH.fullmatch(self.path)
        try:
            if self.path == "/_mock/faults":
                self._plan(json.loads(body))
            elif operation:
                self._bedrock(unquote(operation[1]), operation[2], body)
            elif batch := batch_operation("POST", self.path):
                self._batch(batch, body)
            else:
                raise ErrorResponse(404, "UnknownOperationException", "no such operation")  # noqa: TRY301
        except ErrorResponse as error:
            self._send_error(error)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            self._send_error(
                ErrorResponse(400, "SerializationException", "the body has another shape")
            )

    def _plan(self, body: Any) -> None:
        plan = body if isinstance(body, dict) else {"queued": body}
        self.server.mock.faults.plan(**plan)
        self._send(200, {})

    def _bedrock(self, model: str, operation: str, body: bytes) -> None:
        began = time.monotonic()
        call = Call.arrived(operation, model, body)
        self.server.mock.calls.append(call)
        self._call = call
        try:
            self._authorize("POST", body)
            fields = json.loads(body)
            request = Request.read(operation, model, fields)
            call.fault = asked_for(request.prompt) or self.server.mock.faults.next()
            name, seconds = parsed(call.fault)
            if error := failure(name):
                raise ErrorResponse(*error, retry_after=seconds)
            if self._hangs_up(name, seconds):
                return
            response = self._response(operation, model, request, fields, ENDINGS.get(name))
            latency_ms = int((time.monotonic() - began) * 1_000)
            cached = response.cached
            if operation != "count-tokens":  # which is free
                call.tokens_in, call.tokens_out = response.tokens_in, response.tokens_out
            call.cache_read, call.cache_written = cached.read, cached.written
            self._answer(operation, response, latency_ms, fault=call.fault or "")
            call.whole = name != "half" and name not in stream_errors()
        finally:
            call.took_s = time.monotonic() - began
            logger.info("%s %s -> %s %s", operation, model, call.status, call.fault or "")

    def _response(
        self, operation: str, model: str, request: Request, fields: Any, ending: str | None
    ) -> Response:
        mock = self.server.mock
        if operation == "count-tokens":
            require_counting(model)
            return Response.answering(request, "")
        request.require_room(mock.context_tokens)
        text = mock.references.answer(request.prompt, request.schema)
        return Response.answering(request, text, ending, mock.prompt_cache.look_up(model, fields))

    def _batch(self, operation: str, body: bytes) -> None:
        """Answer a call about batches with the next fault, or as their control plane does."""
        call = Call.arrived(operation, "", body)
        self.server.mock.calls.append(call)
        self._call = call
        self._authorize(self.command, body)
        call.fault = self.server.mock.faults.next()
        name, seconds = parsed(call.fault)
        mock, error = self.server.mock, failure(name)
        if error is None and mock.batches is None:
            error = NO_BATCH
        if error is not None:
            raise ErrorResponse(*error, retry_after=seconds)
        assert mock.batches is not None, "checked above"
        answered = mock.batches.serve(operation, self.path, body, self._text, mock.calls.append)
        if not self._hangs_up(name, seconds):
            self._send(200, answered)

    def _text(self, request: Request) -> str:
        return self.server.mock.references.answer(request.prompt, request.schema)

    def _authorize(self, method: str, body: bytes) -> None:
        mock = self.server.mock
        url = f"http://{self.headers['host']}{self.path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        check_signature(method, url, headers, body, key_pair=mock.key_pair, region=mock.region)

    def _hangs_up(self, fault: str, seconds: float | None) -> bool:
        """Play a fault of the connection; return whether it was closed without an answer."""
        if fault == "slow":
            self.server.mock.stopped.wait(1.0 if seconds is None else seconds)
        elif fault == "hang":
            self.server.mock.stopped.wait(3_600.0 if seconds is None else seconds)
        if fault in {"hang", "drop"}:
            self._cut()
        return fault in {"hang", "drop"}

    def _answer(self, operation: str, response: Response, latency_ms: int, *, fault: str) -> None:
        name, seconds = parsed(fault)
        half = name == "half"
        if operation == "converse-stream":
            frames = list(response.stream(latency_ms, name))
            if name in stream_errors():
                last = frame(name, {"message": MODELLED_MESSAGE}, "exception")
                frames = [*frames[: int(seconds or 0)], last]
            self._stream(frames, half=half)
        elif operation == "count-tokens":
            self._send(200, {"inputTokens": response.tokens_in}, half=half)
        elif operation == "invoke":
            counts = {
                "x-amzn-bedrock-input-token-count": response.tokens_in,
                "x-amzn-bedrock-output-token-count": response.tokens_out,
                "x-amzn-bedrock-invocation-latency": latency_ms,
            }
            self._send(200, response.invoke(), counts, half=half)
        else:
            self._send(200, spoil(response.converse(latency_ms), name), half=half)

    def _send_error(self, error: ErrorResponse) -> None:
        if error.kind:
            headers: dict[str, Any] = {"x-amzn-errortype": error.kind}
            if error.retry_after is not None:
                headers["retry-after"] = error.retry_after
            self._send(error.status, {"message": error.message}, headers)
        else:  # not Bedrock's own answer, but that of a proxy in between
            self._head(error.status, {"content-type": "text/html", "content-length": 0})

    def _send(
        self,
        status: int,
        body: Any,
        headers: Mapping[str, Any] | None = None,
        *,
        half: bool = False,
    ) -> None:
        data = json.dumps(body).encode()
        sizes = {"content-type": "application/json", "content-length": len(data)}
        self._head(status, sizes | dict(headers or {}))
        self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self._cut()

    def _stream(self, frames: list[bytes], *, half: bool) -> None:
        kind = "application/vnd.amazon.eventstream"
        self._head(200, {"content-type": kind, "transfer-encoding": "chunked"})
        for chunk in frames[: len(frames) // 2] if half else [*frames, b""]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if half:
            self._cut()

    def _head(self, status: int, headers: Mapping[str, Any]) -> None:
        if self._call is not None:
            self._call.status, self._call = status, None
        self.send_response(status)
        self.send_header(*MARK)
        self.send_header("x-amzn-requestid", str(uuid.uuid4()))
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
