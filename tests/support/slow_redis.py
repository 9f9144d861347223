"""A proxy before Redis that answers one command with a reply that never ends."""

from __future__ import annotations

import contextlib
import socket
import threading

_EVERY_S = 0.05


class SlowRedis:
    """A running proxy; a context manager.

    Attributes:
        port: its port.
        met: how many such replies began.
    """

    def __init__(self, redis_port: int, command: bytes):
        """Answer commands that hold these bytes; pass on all others to Redis."""
        self.met, self._stopped = 0, threading.Event()
        self._redis_port, self._command = redis_port, command
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
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        there = socket.create_connection(("127.0.0.1", self._redis_port))
        with contextlib.suppress(OSError), connection, there:
            while self._command not in (asked := connection.recv(65_536)):
                there.sendall(asked)
                connection.sendall(there.recv(65_536))
            self.met += 1
            connection.sendall(b"$1000000\r\n")
            while not self._stopped.wait(_EVERY_S):
                connection.sendall(b"x")
