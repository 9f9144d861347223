"""A server on loopback that sends its part of a TLS handshake one byte after the other."""

from __future__ import annotations

import contextlib
import socket
import threading

_RECORD = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"  # a ServerHello of 16 KiB begins so
_EVERY_S = 0.05


class HostileTls:
    """A running server; a context manager.

    Attributes:
        port: its port.
        met: how many handshakes began.
    """

    def __init__(self):
        self.met, self._stopped = 0, threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        while not self._stopped.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                threading.Thread(target=self._trickle, args=(connection,), daemon=True).start()

    def _trickle(self, connection):
        with contextlib.suppress(OSError), connection:
            connection.recv(65_536)
            self.met += 1
            for byte in _RECORD:
                connection.sendall(bytes([byte]))
            while not self._stopped.wait(_EVERY_S):
                connection.sendall(b"\0")
