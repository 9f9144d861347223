"""One part of a fleet: a process of its own, with its own log file, that dies with its parent."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.02
TAIL_LINES = 15


class PartFailed(RuntimeError):
    """A part ended, or did not get ready in time; says which, and shows the end of its log."""


class Process:
    """One running part.

    1. Runs the command in a process group of its own, so that Ctrl-C reaches only the parent,
       which then stops its parts in order.
    2. Has the kernel kill it when the parent is gone, however the parent went. The kernel
       watches the *thread* that started it, so only the main thread may.
    3. Knows when it is ready, from the part's own word.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        log: Path,
        ready: Callable[[Process], bool],
    ) -> None:
        """Start `command`. `ready(self)` is asked again and again until it says yes."""
        self.name = name
        self.log = log
        self._command = [*_leash(), *map(str, command)]
        self._env = dict(env)
        self._ready = ready
        self._launch()

    def __repr__(self) -> str:
        return f"Proc({self.name}, pid={self.pid})"

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def restart(self) -> None:
        """Run the same command again, after what is left of the old process is killed."""
        self.kill_group()
        self._launch()

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the part says that it is ready.

        Raises:
            PartFailed: It ended, or `timeout_s` seconds went by.
        """
        end = time.monotonic() + timeout_s
        while not self._ready(self):
            if not self.alive:
                raise PartFailed(f"{self.name} ended with {self._popen.returncode}\n{self.tail()}")
            if time.monotonic() > end:
                raise PartFailed(f"{self.name} not ready after {timeout_s:g} s\n{self.tail()}")
            time.sleep(POLL_S)

    def said(self, pattern: str) -> re.Match[str] | None:
        """Where its log, since it was last started, has this regular expression."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return re.search(pattern, log.read().decode(errors="replace"))

    def tail(self) -> str:
        """The last lines of its log, under the log's path."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([f"{self.log}:", *lines[-TAIL_LINES:]])

    def send(self, sig: signal.Signals) -> None:
        """Send a signal to the part itself, not to its children; nothing where it has ended."""
        if self.alive:
            self._popen.send_signal(sig)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within so many seconds."""
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill_group(self) -> None:
        """Kill what is left of it, its children included."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def _launch(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a part started by another thread would die with that thread")
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(  # noqa: S603 - the fleet's own commands, and no shell
                self._command,
                env=self._env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )


def stop(procs: Sequence[Process], grace_s: float) -> None:
    """Ask all to end, wait so many seconds for them together, then kill what is left."""
    for proc in procs:
        proc.send(signal.SIGTERM)
        proc.send(signal.SIGCONT)  # one that was paused hears it only then
    end = time.monotonic() + grace_s
    for proc in procs:
        proc.wait(max(0.0, end - time.monotonic()))
        proc.kill_group()


def _leash() -> list[str]:
    """The exec wrapper that sets PR_SET_PDEATHSIG; util-linux has it on every Debian and Ubuntu."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
