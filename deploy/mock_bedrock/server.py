"""A mock of Amazon Bedrock on loopback, for the demo and the tests: the real protocol, no model.

It speaks Converse, ConverseStream, InvokeModel and CountTokens, checks signatures, rejects what
Bedrock rejects, and fails as planned. Every answer has the header `x-forebay-stand-in`.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from mock_bedrock.calls import Call
from mock_bedrock.canned_answers import References
from mock_bedrock.faults import Faults, parsed
from mock_bedrock.protocol import (
    ENDINGS,
    FAILURES,
    ErrorResponse,
    Request,
    Response,
    check_signature,
)
from mock_bedrock.spoiled import spoil

logger = logging.getLogger("mock-bedrock")

MARK = ("x-forebay-stand-in", "1")
KEY_PAIR = ("mock", "mock")
REGION = "us-east-1"
MAX_RECORDED_CALLS = 50_000
MAX_BODY_BYTES = 25_000_000  # Bedrock's own limit

_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|count-tokens)")


class MockBedrock:
    """A running mock; a context manager.

    Attributes:
        url: where it listens.
        calls: the requests that reached it, the latest last.
        faults: the plan of what goes wrong next.
        references: what it answers.
    """

    def __init__(
        self,
        samples: Path | None = None,
        *,
        port: int = 0,
        faults: Sequence[str | None] = (),
        key_pair: tuple[str, str] = KEY_PAIR,
        region: str = REGION,
    ) -> None:
        self.references = References(samples)
        self.faults = Faults()
        self.faults.plan(faults)
        self.key_pair = key_pair
        self.region = region
        self.calls: deque[Call] = deque(maxlen=MAX_RECORDED_CALLS)
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.mock = self
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a hung call does not delay the shutdown
    request_queue_size = 256
    mock: MockBedrock

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the base class
        """Log the class of an error, never its text. A client that hung up is no error."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            logger.error("a connection from %s ended with %s", client_address, type(error).__name__)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    _call: Call | None = None  # the call that is being answered

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Log nothing: a request line may hold content. `_bedrock` logs what is safe."""

    def do_GET(self) -> None:
        """Return the recorded calls, for tests."""
        if self.path == "/_mock/calls":
            self._send(200, [asdict(call) for call in list(self.server.mock.calls)])
        else:
            self._send_error(ErrorResponse(404, "UnknownOperationException", "no such path"))

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
            self._authorize(body)
            request = Request.read(operation, model, json.loads(body))
            call.fault = self.server.mock.faults.next()
            name, seconds = parsed(call.fault)
            if name in FAILURES:
                raise ErrorResponse(*FAILURES[name], retry_after=seconds)
            if self._hangs_up(name, seconds):
                return
            text = self.server.mock.references.answer(request.prompt, request.schema)
            response = Response.answering(request, text, ENDINGS.get(name))
            latency_ms = int((time.monotonic() - began) * 1_000)
            call.tokens_in, call.tokens_out = response.tokens_in, response.tokens_out
            self._answer(operation, response, latency_ms, fault=name)
            call.whole = name != "half"
        finally:
            logger.info("%s %s -> %s %s", operation, model, call.status, call.fault or "")

    def _authorize(self, body: bytes) -> None:
        mock = self.server.mock
        url = f"http://{self.headers['host']}{self.path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        check_signature("POST", url, headers, body, key_pair=mock.key_pair, region=mock.region)

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
        half = fault == "half"
        if operation == "converse-stream":
            self._stream(list(response.stream(latency_ms)), half=half)
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
            self._send(200, spoil(response.converse(latency_ms), fault), half=half)

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
        for frame in frames[: len(frames) // 2] if half else [*frames, b""]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="A mock of Amazon Bedrock on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--samples", type=Path, help="JSON lines with `request` and `reference`")
    parser.add_argument("--port-file", type=Path, help="gets the port once the mock listens")
    parser.add_argument("--region", default=REGION, help="region that requests are signed for")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # Blocked before any thread starts, so that only this thread is woken by them.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with MockBedrock(options.samples, port=options.port, region=options.region) as mock:
        if options.port_file:
            draft = options.port_file.with_suffix(".new")
            draft.write_text(str(mock.port))
            draft.replace(options.port_file)
        logger.info("listening on %s", mock.url)
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
