"""A server in front of a model server, which changes what passes, and remembers it."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ModelProxy(ThreadingHTTPServer):
    """Passes requests on to `upstream`.

    Attributes:
        drop: fields of requests that this server does not know, and ignores.
        status: the answer to every request, if it is set.
        location: where a redirect leads to.
        rename: the model that answers name, if it is set.
        cut_after: bytes after which the connection of an answer breaks.
        requests: path, headers and body of each request.
    """

    daemon_threads = True

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.drop, self.status, self.location = upstream, set(), None, None
        self.rename, self.cut_after, self.requests = None, None, []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._pass_on(None)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._pass_on(body)

    def _pass_on(self, body):
        proxy = self.server
        proxy.requests.append((self.path, dict(self.headers), body))
        if proxy.status is not None:
            self._head(proxy.status, [("location", proxy.location or "")])
            return
        if body is not None:
            body = {key: value for key, value in body.items() if key not in proxy.drop}
        request = urllib.request.Request(
            proxy.upstream.removesuffix("/v1") + self.path,
            data=body and json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with DIRECT.open(request, timeout=60) as answer:
                self._head(answer.status, [("content-type", answer.headers["content-type"])])
                self._copy(answer)
        except urllib.error.HTTPError as error:
            self._head(error.code, [("content-type", "application/json")])
            self.wfile.write(error.read())

    def _copy(self, answer):
        proxy, sent = self.server, 0
        for line in answer:
            line_out = _renamed(line, proxy.rename) if proxy.rename else line
            self.wfile.write(line_out)
            self.wfile.flush()
            sent += len(line_out)
            if proxy.cut_after is not None and sent > proxy.cut_after:
                return

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True

    def log_message(self, *_):
        pass


def _renamed(line, model):
    if not line.startswith(b"data: {"):
        return line
    return b"data: " + json.dumps(json.loads(line[6:]) | {"model": model}).encode() + b"\n"
