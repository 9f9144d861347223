"""One isolated process, as its parent sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

from forebay.workers.isolation import frames
from forebay.workers.isolation.limits import START_S, OverBudget

#: The environment of an isolated process. The worker's own holds secrets.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG")


class IsolatedProcess:
    """A process that makes one call after the other, until a call has to be stopped.

    Args:
        module: is imported before the process counts as started.

    Raises:
        OverBudget: The process was not ready within `START_S`.
    """

    def __init__(self, module: str) -> None:
        self._popen = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "forebay.workers.isolation.child", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,  # Ctrl-C is for the worker alone, which ends this process
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._in, self._out = self._popen.stdin.fileno(), self._popen.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        try:
            frames.read(self._out, time.monotonic() + START_S)
        except (frames.Late, EOFError, OSError):
            self.end()
            raise OverBudget("cannot be checked: no process could be started") from None
        except BaseException:  # such as an interrupt: nobody else knows this process
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """True if the process can take a call."""
        return self._popen.poll() is None

    def call(self, call: bytes, wall_s: float) -> tuple[str, Any]:
        """Make a call; return how it ended and with what.

        Raises:
            OverBudget: The call took too long, or cost the process its life. The process is gone.
        """
        deadline = time.monotonic() + wall_s
        try:
            frames.write(self._in, call, deadline)
            ending, value = frames.read(self._out, deadline)
        except frames.Late:
            self.end()
            raise OverBudget("takes too long to check") from None
        except (EOFError, OSError):
            self.end()
            killed_for_time = self._popen.returncode == -signal.SIGXCPU
            reason = "takes too long" if killed_for_time else "takes too much memory"
            raise OverBudget(f"{reason} to check") from None
        except BaseException:  # such as an interrupt: the reply would be taken for the next call's
            self.end()
            raise
        return ending, value

    def kill(self) -> None:
        """Kill the process from another thread; its call raises `OverBudget`."""
        self._popen.kill()

    def end(self) -> None:
        """Kill the process and release its pipes."""
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
