"""A mock of OpenAI's chat completions on loopback: the real protocol, no model.

Faults are planned by name, as those of the mock of Bedrock: `throttled:7`, `cut off`, and so on.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-mock"
ERRORS = {
    "throttled": (429, "rate_limit_exceeded", "slow down"),
    "no credit": (429, "insufficient_quota", "no credit"),
    "unpaid": (402, None, "insufficient credits"),
    "flagged": (403, None, "the model requires moderation and your input was flagged"),
    "unavailable": (503, None, "overloaded"),
    "internal": (500, None, "failed"),
    "gateway": (502, None, "bad gateway"),
    "wrong key": (401, "invalid_api_key", "wrong key"),
    "forbidden": (403, None, "not allowed"),
    "no model": (404, "model_not_found", "no such model"),
    "too long": (400, "context_length_exceeded", "maximum context length"),
    "schema": (400, None, "Invalid schema for response_format 'answer'"),
    "invalid": (400, None, "wrong"),
    "filtered": (400, "content_filter", "the prompt was filtered"),
    "redirect": (307, None, "elsewhere"),
    "teapot": (418, None, "I am a teapot"),
}
CHARS_PER_TOKEN = 4


class MockChat:
    """A running mock; a context manager.

    Attributes:
        url: the URL of the service, with its version.
        calls: body and headers of each request, in order.
        usage: replaces the usage of answers, if it is not `None`; "null" is JSON's.
        keys: the keys that it takes.
    """

    def __init__(self):
        self.calls, self.usage, self._faults = [], None, deque()
        self.keys = {KEY}
        self.stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._server.mock = self
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}/v1"

    def plan(self, faults):
        """Replace the faults of the next calls; `None` is a good answer."""
        self._faults = deque(faults)

    def next_fault(self):
        fault = self._faults.popleft() if self._faults else None
        name, _, argument = (fault or "").partition(":")
        return name, argument or None

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Log nothing."""

    def do_POST(self):
        mock = self.server.mock
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        mock.calls.append((body, dict(self.headers.items())))
        fault, argument = mock.next_fault()
        if self.path != "/v1/chat/completions":
            fault = "no model"
        elif self.headers.get("authorization", "").removeprefix("Bearer ") not in mock.keys:
            fault = "wrong key"
        if fault in ERRORS:
            self._fail(*ERRORS[fault], argument)
        elif fault in {"silent", "no response"}:
            mock.stopped.wait(float(argument or 0))
            self._cut()
        else:
            mock.stopped.wait(float(argument or 1) if fault == "slow" else 0)
            self._answer(body, fault)

    def _answer(self, body, fault):
        limit = body.get("max_completion_tokens") or body["max_tokens"]
        asked = body["messages"][-1]["content"]
        text, finish = f"You asked: {asked[:200]}", "stop"
        if "response_format" in body:
            text = '{"n": 1}'
        if tokens(text) > limit:
            text, finish = text[: limit * CHARS_PER_TOKEN], "length"
        prompt = sum(tokens(turn["content"]) for turn in body["messages"])
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens(text)}
        usage = self.server.mock.usage or usage
        usage = None if usage == "null" else usage
        refusal = "no" if fault == "refused" else None
        message = {"role": "assistant", "content": None if refusal else text, "refusal": refusal}
        if body.get("stream"):
            self._stream(message, finish, usage, fault)
        else:
            choice = {"index": 0, "message": message, "finish_reason": finish}
            self._send(200, {"choices": [choice], "usage": usage}, half=fault == "cut off")

    def _stream(self, message, finish, usage, fault):
        deltas = [{"content": word} for word in (message["content"] or "").split(" ")]
        deltas = [{"content": f"{each['content']} "} for each in deltas[:-1]] + deltas[-1:]
        if message["refusal"]:
            deltas = [{"refusal": "no"}]
        chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
        chunks += [{"choices": [{"delta": {}, "finish_reason": finish}]}]
        chunks += [{"choices": [], "usage": usage}]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        if fault == "cut off":
            lines = lines[: len(lines) // 2]
        elif fault != "no done":
            lines.append("data: [DONE]\n\n")
        data = "".join([": comment\n\n", *lines]).encode()
        self._head(200, "text/event-stream", {"content-length": len(data)})
        self.wfile.write(data)

    def _fail(self, status, code, message, wait):
        extra = {} if wait is None else {"retry-after": wait}
        if status == 307:
            extra["location"] = "http://127.0.0.1:9/v1/chat/completions"
        self._send(status, {"error": {"code": code, "message": message}}, extra)

    def _send(self, status, body, extra=(), *, half=False):
        data = json.dumps(body).encode()
        self._head(status, "application/json", {"content-length": len(data), **dict(extra)})
        self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self._cut()

    def _head(self, status, kind, headers):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("x-forebay-stand-in", "1")
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def _cut(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def tokens(text):
    return -(-len(text) // CHARS_PER_TOKEN)
