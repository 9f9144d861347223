"""A proxy before Redis that answers one command with a reply that never ends."""

from __future__ import annotations

import socket

from hostile_server import HostileServer

_EVERY_S = 0.05


class SlowRedis(HostileServer):
    """A running proxy; a context manager.

    Attributes:
        port: its port.
        met: how many such replies began.
    """

    def __init__(self, redis_port: int, command: bytes):
        """Answer commands that hold these bytes; pass on all others to Redis."""
        super().__init__()
        self.met, self._redis_port, self._command = 0, redis_port, command

    def answer(self, connection):
        """Pass commands on, until the one whose reply never ends."""
        with socket.create_connection(("127.0.0.1", self._redis_port)) as there:
            while self._command not in (asked := connection.recv(65_536)):
                there.sendall(asked)
                connection.sendall(there.recv(65_536))
            self.met += 1
            connection.sendall(b"$1000000\r\n")
            while not self.stopped.wait(_EVERY_S):
                connection.sendall(b"x")
