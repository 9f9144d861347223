"""A receiver of webhooks: a real HTTP server that keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """What a receiver was sent, and what it responds.

    Attributes:
        url: where it listens.
        got: pairs of headers and body, in order.
        respond: returns the status of a response, and its headers.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.respond: Callable[[], tuple[int, dict[str, str]]] = lambda: (204, {})


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Start a receiver on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            status, headers = receiver.respond()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook?a=b")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
