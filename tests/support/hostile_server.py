"""What hostile servers of tests share: a thread for each connection on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading


class HostileServer:
    """A running server; a context manager. Its class has `answer(connection)`.

    Attributes:
        port: its port.
        stopped: set once it ends.
    """

    def __init__(self):
        self.stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        while not self.stopped.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                threading.Thread(target=self._attend, args=(connection,), daemon=True).start()

    def _attend(self, connection):
        with contextlib.suppress(OSError), connection:
            self.answer(connection)
