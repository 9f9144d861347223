"""An OpenTelemetry collector on this machine: it takes spans by OTLP over HTTP and keeps them."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Seen(NamedTuple):
    """One span as it was received."""

    service: str
    instance: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    error: str


class Collector:
    """Listens on a free port as long as its block runs.

    Attributes:
        spans: all spans so far.
        raw: what was received, byte for byte.
        scopes: the libraries that made the spans.
    """

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.raw: list[bytes] = []
        self.scopes: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        self.raw.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {each.key: each.value.string_value for each in group.resource.attributes}
            for scope in group.scope_spans:
                self.scopes.add(scope.scope.name)
                self.spans += [_seen(span, about) for span in scope.spans]

    def _handler(self):
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.take(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        return Handler


def _seen(span, about) -> Seen:
    values = {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }
    return Seen(
        about.get("service.name", ""), about.get("service.instance.id", ""), span.name,
        span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), values,
        span.status.message,
    )  # fmt: skip
