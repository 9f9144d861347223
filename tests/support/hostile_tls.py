"""A server on loopback that sends its part of a TLS handshake one byte after the other."""

from __future__ import annotations

from hostile_server import HostileServer

_RECORD = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"  # a ServerHello of 16 KiB begins so
_EVERY_S = 0.05


class HostileTls(HostileServer):
    """A running server; a context manager.

    Attributes:
        port: its port.
        met: how many handshakes began.
    """

    def __init__(self):
        super().__init__()
        self.met = 0

    def answer(self, connection):
        """Begin a handshake, and never end it."""
        connection.recv(65_536)
        self.met += 1
        for byte in _RECORD:
            connection.sendall(bytes([byte]))
        while not self.stopped.wait(_EVERY_S):
            connection.sendall(b"\0")
