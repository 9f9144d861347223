"""A server on loopback that answers every request with the bytes that a test gives it."""

from __future__ import annotations

import itertools
import struct
import zlib

from hostile_server import HostileServer

OK = b"HTTP/1.1 200 OK\r\n"
EVENTS = b"content-type: application/vnd.amazon.eventstream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


class HostileHttp(HostileServer):
    """A running server; a context manager.

    Attributes:
        pieces: makes the pieces of bytes that a response is sent in; an endless one ends when the
            client hangs up.
        url: its URL.
        sent: bytes that were sent, of all responses.
    """

    def __init__(self, pieces=lambda: ()):
        super().__init__()
        self.pieces, self.sent = pieces, 0
        self.url = f"http://127.0.0.1:{self.port}"

    def trickle(self, head, byte=b" ", every_s=0.05):
        """Return a response that sends one byte after the other for ever."""
        return lambda: itertools.chain([head], self._slowly(byte, every_s))

    def silent(self, head):
        """Return a response that ends with silence."""
        return lambda: itertools.chain([head], self._slowly(b"", 0.05))

    def _slowly(self, byte, every_s):
        while not self.stopped.wait(every_s):
            yield byte

    def answer(self, connection):
        """Read a request, and send the pieces."""
        _read_request(connection)
        for piece in self.pieces():
            connection.sendall(piece)
            self.sent += len(piece)


def _read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    sizes = [
        line.split(b":")[1]
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length")
    ]
    while sizes and len(body) < int(sizes[0]):
        body += connection.recv(65_536)


def whole(body, kind=b"application/json", extra=b""):
    """Return a response with this body."""
    return OK + b"content-type: %s\r\n%scontent-length: %d\r\n\r\n%s" % (
        kind,
        extra,
        len(body),
        body,
    )


def chunk(data):
    """Return a piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream(*frames):
    """Return a chunked response of these frames, whose connection stays open."""
    return OK + EVENTS + CHUNKED + b"".join(map(chunk, frames))


def bomb(mebibytes):
    """Return zeros of this size, compressed by gzip."""
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return b"".join(squeeze.compress(zeros) for _ in range(mebibytes)) + squeeze.flush()


def giant_frame_head(length):
    """Return the beginning of a message of a stream of events that says to be so long."""
    prelude = struct.pack("!II", length, 0)
    return prelude + struct.pack("!I", zlib.crc32(prelude))
