"""A stand-in for Amazon Bedrock on loopback, for the demo and the tests: no model, real protocol.

It speaks Converse, ConverseStream, InvokeModel and CountTokens, checks signatures, refuses what the
real one refuses, and fails as it is told to. Every answer bears the header `x-forebay-stand-in`.
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
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from mock_bedrock.canned_answers import References
from mock_bedrock.faults import Faults, parsed
from mock_bedrock.protocol import ENDINGS, FAILURES, Asked, Refusal, Said, check_signature

logger = logging.getLogger("stand-in")

MARK = ("x-forebay-stand-in", "1")
KEY_PAIR = ("stand-in", "stand-in")
REGION = "us-east-1"
KEPT_CALLS = 50_000
MAX_BODY = 25_000_000  # bytes, Bedrock's own limit

_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|count-tokens)")


@dataclass
class Call:
    """One request that reached the stand-in. `status` is none until it is answered."""

    at: float
    operation: str
    model: str
    call_id: str
    text: str
    status: int | None = None
    fault: str | None = None


class MockBedrock:
    """A running stand-in; a context manager.

    `url` is where it listens, `calls` every request it saw, `faults` what goes wrong next.
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
        self.calls: deque[Call] = deque(maxlen=KEPT_CALLS)
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.stand_in = self
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
    block_on_close = False  # a hung call does not hold up the end
    request_queue_size = 256
    stand_in: MockBedrock

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the base class
        """A client that hung up is no error here; of anything else, say what, and no content."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            logger.error("a connection from %s ended with %s", client_address, type(error).__name__)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    _call: Call | None = None  # what is being answered

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Nothing: the request line may hold anything. `_bedrock` logs what is known to be safe."""

    def do_GET(self) -> None:
        """What the tests look at."""
        if self.path == "/_stand-in/calls":
            self._send(200, [asdict(call) for call in list(self.server.stand_in.calls)])
        else:
            self._refuse(Refusal(404, "UnknownOperationException", "no such path"))

    def do_POST(self) -> None:
        """A call of Bedrock, or a plan of faults."""
        size = int(self.headers.get("content-length") or 0)
        if size > MAX_BODY:
            self.close_connection = True
            self._refuse(Refusal(413, "RequestEntityTooLargeException", "too large"))
            return
        body = self.rfile.read(size)
        if len(body) < size:  # the caller died while it wrote: that was no call
            self.close_connection = True
            return
        found = _PATH.fullmatch(self.path)
        try:
            if self.path == "/_stand-in/faults":
                self._plan(json.loads(body))
            elif found:
                self._bedrock(unquote(found[1]), found[2], body)
            else:
                raise Refusal(404, "UnknownOperationException", "no such operation")  # noqa: TRY301
        except Refusal as refusal:
            self._refuse(refusal)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            self._refuse(Refusal(400, "SerializationException", "the body has another shape"))

    def _plan(self, wanted: Any) -> None:
        plan = wanted if isinstance(wanted, dict) else {"queued": wanted}
        self.server.stand_in.faults.plan(**plan)
        self._send(200, {})

    def _bedrock(self, model: str, operation: str, body: bytes) -> None:
        began = time.monotonic()
        call = _seen(model, operation, body)
        self.server.stand_in.calls.append(call)
        self._call = call
        try:
            self._authorize(body)
            asked = Asked.read(operation, model, json.loads(body))
            call.fault = self.server.stand_in.faults.next()
            name, seconds = parsed(call.fault)
            if name in FAILURES:
                raise Refusal(*FAILURES[name], retry_after=seconds)
            if self._waits(name, seconds):
                return
            text = self.server.stand_in.references.answer(asked.prompt, asked.schema)
            said = Said.to(asked, text, ENDINGS.get(name))
            latency_ms = int((time.monotonic() - began) * 1_000)
            self._answer(operation, said, latency_ms, half=name == "half")
        finally:
            logger.info("%s %s -> %s %s", operation, model, call.status, call.fault or "")

    def _authorize(self, body: bytes) -> None:
        stand_in = self.server.stand_in
        url = f"http://{self.headers['host']}{self.path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        check_signature(
            "POST", url, headers, body, key_pair=stand_in.key_pair, region=stand_in.region
        )

    def _waits(self, fault: str, seconds: float | None) -> bool:
        """Whether the connection is at its end."""
        if fault == "slow":
            self.server.stand_in.stopped.wait(1.0 if seconds is None else seconds)
        elif fault == "hang":
            self.server.stand_in.stopped.wait(3_600.0 if seconds is None else seconds)
        if fault in {"hang", "drop"}:
            self._cut()
        return fault in {"hang", "drop"}

    def _answer(self, operation: str, said: Said, latency_ms: int, *, half: bool) -> None:
        if operation == "converse-stream":
            self._stream(list(said.stream(latency_ms)), half=half)
        elif operation == "count-tokens":
            self._send(200, {"inputTokens": said.tokens_in}, half=half)
        elif operation == "invoke":
            counts = {
                "x-amzn-bedrock-input-token-count": said.tokens_in,
                "x-amzn-bedrock-output-token-count": said.tokens_out,
                "x-amzn-bedrock-invocation-latency": latency_ms,
            }
            self._send(200, said.invoke(), counts, half=half)
        else:
            self._send(200, said.converse(latency_ms), half=half)

    def _refuse(self, refusal: Refusal) -> None:
        if refusal.kind:
            headers: dict[str, Any] = {"x-amzn-errortype": refusal.kind}
            if refusal.retry_after is not None:
                headers["retry-after"] = refusal.retry_after
            self._send(refusal.status, {"message": refusal.message}, headers)
        else:  # not Bedrock's own answer, but of a proxy on the way
            self._head(refusal.status, {"content-type": "text/html", "content-length": 0})

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


def _seen(model: str, operation: str, body: bytes) -> Call:
    text = body.decode("utf-8", "replace")
    found = re.search(r'"forebay-call"\s*:\s*"([^"]*)"', text)
    return Call(time.time(), operation, model, found[1] if found else "", text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="A stand-in for Amazon Bedrock on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--samples", type=Path, help="JSON lines with `request` and `reference`")
    parser.add_argument("--port-file", type=Path, help="the port is written here when it listens")
    parser.add_argument("--region", default=REGION, help="the one that requests are signed for")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # Blocked before any thread starts, so that no thread but this one is woken by them.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with MockBedrock(options.samples, port=options.port, region=options.region) as stand_in:
        if options.port_file:
            draft = options.port_file.with_suffix(".new")
            draft.write_text(str(stand_in.port))
            draft.replace(options.port_file)
        logger.info("listening on %s", stand_in.url)
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
