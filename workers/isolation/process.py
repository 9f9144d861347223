"""One isolated process, as its parent sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forebay.workers.isolation import frames
from forebay.workers.isolation.limits import (
    LONG_CPU_S,
    LONG_NICENESS,
    LOOK_EVERY_S,
    MAX_DELAYED,
    START_S,
    OverBudget,
)

#: The environment of an isolated process. The worker's own holds secrets.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG")

_TICKS_A_S = os.sysconf("SC_CLK_TCK")


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
        self._is_demoted = False
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
        """True if the process can take a call.

        A process that got the lowest priority takes no more: it needs privileges to raise it again.
        """
        return not self._is_demoted and self._popen.poll() is None

    def call(
        self, call: bytes, wall_s: float, on_long: Callable[[], None] = lambda: None
    ) -> tuple[str, Any]:
        """Make a call; return how it ended and with what.

        A call that computes for long gets the lowest priority, and `on_long` is called.

        Raises:
            OverBudget: The call took too long, or cost the process its life. The process is gone.
        """
        try:
            frames.write(self._in, call, time.monotonic() + wall_s)
            deadline = self._await_reply(wall_s, on_long)
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

    def _await_reply(self, wall_s: float, on_long: Callable[[], None]) -> float:
        """Wait for the reply; return by when it has to be read.

        On a busy machine a good call may hardly get a processor, least of all at a low priority. So
        the time for which it waited for one is added to its limit.
        """
        began, used_s, delayed_s = time.monotonic(), _cpu_s(self.pid), _delayed_s(self.pid)
        deadline = began + wall_s
        while not frames.is_ready(self._out, min(LOOK_EVERY_S, deadline - time.monotonic())):
            waited_s = min(_delayed_s(self.pid) - delayed_s, MAX_DELAYED * wall_s)
            deadline = began + wall_s + waited_s
            if time.monotonic() >= deadline:
                raise frames.Late
            if not self._is_demoted and _cpu_s(self.pid) - used_s > LONG_CPU_S:
                os.setpriority(os.PRIO_PROCESS, self.pid, LONG_NICENESS)
                self._is_demoted = True
                on_long()
        return deadline

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


def _cpu_s(pid: int) -> float:
    """Return the seconds that a process has computed so far, as the kernel counts them."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    # The second field, the name in brackets, may hold spaces; times are the 14th and 15th.
    user, system = stat.rpartition(b")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS_A_S


def _delayed_s(pid: int) -> float:
    """Return the seconds for which a process waited for a processor; 0 if that is not known."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
