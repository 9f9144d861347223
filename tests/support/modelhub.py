"""A hub of models for tests: a real HTTP server that speaks what `huggingface_hub` asks of it."""

import contextlib
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 16
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def blob_id(body):
    return hashlib.sha1(b"blob %d\0%s" % (len(body), body)).hexdigest()


class ModelHub(ThreadingHTTPServer):
    """A repository, its large files in a store on another host, as the hub has it.

    Attributes:
        files: the bytes of each file of the repository, by name.
        large: names of the files that are under Git LFS.
        fault: a status with which every request is refused; or `gated`, `no ranges`, `no digest`.
        cut_after: bytes after which the connection breaks.
        delay_s: pause after each `CHUNK_BYTES` of a file.
        requests: method, path and headers of each request.
    """

    daemon_threads = True

    def __init__(self, repo, files, large, licence="apache-2.0"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo, self.files, self.large, self.licence = repo, files, large, licence
        self.branches = {"main": COMMIT}
        self.fault = ""
        self.token = None
        self.cut_after = None
        self.delay_s = 0.0
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def store_url(self):
        return f"http://localhost:{self.server_address[1]}"

    def calls(self):
        return [f"{method} {path}" for method, path, _ in self.requests]

    def downloads(self):
        """Return the path and the first byte of each request for the bytes of a file."""
        sent = [(path, headers.get("Range")) for method, path, headers in self.requests
                if method == "GET" and "/store/" in path]  # fmt: skip
        return [(path, _start(byte_range)) for path, byte_range in sent]

    def starts(self):
        return [start for _, start in self.downloads()]

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


def _start(byte_range):
    return int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range else 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.respond()

    def do_GET(self):
        self.respond()

    def respond(self):
        hub = self.server
        path = urlsplit(self.path).path
        hub.requests.append((self.command, path, dict(self.headers)))
        if hub.fault.isdecimal():
            return self.reply(int(hub.fault), b"<html>sorry</html>")
        if path.startswith("/store/"):
            return self.store(path.removeprefix("/store/"))
        token = self.headers.get("Authorization")
        if hub.fault == "gated" and token != f"Bearer {hub.token}":
            return self.reply(403 if token else 401, b"", **{"X-Error-Code": "GatedRepo"})
        for prefix, method in (
            (f"/api/models/{hub.repo}/revision/", self.info),
            (f"/api/models/{hub.repo}/tree/", self.tree),
            (f"/{hub.repo}/resolve/{COMMIT}/", self.resolve),
        ):
            if path.startswith(prefix):
                return method(path.removeprefix(prefix))
        return self.reply(404, b"", **{"X-Error-Code": "RepoNotFound"})

    def info(self, revision):
        hub = self.server
        if revision not in {*hub.branches, *hub.branches.values()}:
            return self.reply(404, b"", **{"X-Error-Code": "RevisionNotFound"})
        return self.reply_json({
            "id": hub.repo, "modelId": hub.repo, "sha": hub.branches.get(revision, revision),
            "private": False, "tags": [], "downloads": 0, "likes": 0,
            "siblings": [{"rfilename": name} for name in hub.files],
            "cardData": {"license": hub.licence} if hub.licence else None,
        })  # fmt: skip

    def tree(self, _commit):
        entries = [{"type": "directory", "path": "original", "oid": "0" * 40, "size": 0}]
        for name, body in self.server.files.items():
            entry = {"type": "file", "path": name, "size": len(body), "oid": blob_id(body)}
            if self.server.fault == "no digest":
                entry["oid"] = "/../../../outside"
            if name in self.server.large:
                pointer = {"oid": sha256(body), "size": len(body), "pointerSize": 134}
                entry |= {"lfs": pointer, "oid": "1" * 40, "xetHash": "2" * 64}
            entries.append(entry)
        return self.reply_json(entries)

    def resolve(self, name):
        hub = self.server
        body = hub.files.get(name)
        commit = {"X-Repo-Commit": COMMIT}
        if body is None:
            return self.reply(404, b"", **commit, **{"X-Error-Code": "EntryNotFound"})
        if name not in hub.large:
            return self.reply(200, body, **commit, ETag=f'"{blob_id(body)}"')
        etag = "some-other-tag" if hub.fault == "no digest" else sha256(body)
        location = f"{hub.store_url}/store/{name}"
        linked = {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(body))}
        return self.reply(302, b"", **commit, **linked, Location=location)

    def store(self, name):
        hub = self.server
        whole = hub.files[name]
        start = 0 if hub.fault == "no ranges" else _start(self.headers.get("Range"))
        body = whole[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.end_headers()
        end = len(body) if hub.cut_after is None else hub.cut_after
        with contextlib.suppress(ConnectionError):  # the client may go away
            for position in range(0, min(end, len(body)), CHUNK_BYTES):
                self.wfile.write(body[position : min(position + (CHUNK_BYTES), end)])
                time.sleep(hub.delay_s)
        if end < len(body):
            self.close_connection = True

    def reply_json(self, data):
        return self.reply(200, json.dumps(data).encode(), **{"Content-Type": "application/json"})

    def reply(self, code, body, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass
