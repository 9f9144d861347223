"""One part of a fleet: a process with a log file of its own, which dies with its parent."""

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
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.02
TAIL_LINES = 15
MAX_LOG_BYTES = 10 * 2**20  # of a log, until it is rotated
OLD_LOGS = 3  # that are kept beside it


#: What the line of a log says that tells why a process ended.
_CAUSE = re.compile(
    r"(?i)\b\w*(?:error|exception|misconfigured|unavailable)\b|fatal|fail|cannot|could ?n.t|must be"
    r"|denied|refused|in use|no such"
)


class PartFailed(RuntimeError):
    """A part ended, or was not ready in time.

    The message names the part and the cause, and shows the end of its log since it was started.
    """


class Process:
    """One running part.

    1. Runs the command in a process group of its own, so that Ctrl-C reaches only the parent,
       which then stops its parts in order.
    2. Is killed by the kernel when the parent ends, whatever ended it. The kernel watches the
       *thread* that started the process, so only the main thread may start it.
    3. Knows when the part is ready, by asking `ready`.
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
        """Start `command`. `wait_ready` polls `ready(self)` until it returns True."""
        self.name = name
        self.log = log
        self._command = [*_leash(), *map(str, command)]
        self._env = dict(env)
        self._ready = ready
        self._launch()

    def __repr__(self) -> str:
        return f"Process({self.name}, pid={self.pid})"

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._popen.poll() is None

    def restart(self) -> None:
        """Kill what is left of the old process group and run the same command again."""
        self.kill_group()
        self._launch()

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the part is ready.

        Raises:
            PartFailed: The process ended, or `timeout_s` seconds passed.
        """
        end = time.monotonic() + timeout_s
        while not self._ready(self):
            if not self.alive:
                raise PartFailed(self._failure(f"ended with {self._popen.returncode}"))
            if time.monotonic() > end:
                raise PartFailed(self._failure(f"not ready after {timeout_s:g} s"))
            time.sleep(POLL_S)

    def logged(self, pattern: str) -> re.Match[str] | None:
        """Return the first match of a regular expression in the log since the last start."""
        return re.search(pattern, self._read_log())

    def tail(self) -> str:
        """Return the last lines of the log since the last start, below the log's path."""
        return "\n".join([f"{self.log}:", *self._read_log().splitlines()[-TAIL_LINES:]])

    def rotate_log(self, max_bytes: int = MAX_LOG_BYTES) -> None:
        """Move a log that is too large to `NAME.log.1`, and older ones to `.2` and `.3`.

        The process has the file open, so its content is copied and then cut off. Lines that are
        written between the two are lost.
        """
        if self.log.stat().st_size <= max_bytes:
            return
        names = [self.log.with_name(f"{self.log.name}.{number + 1}") for number in range(OLD_LOGS)]
        for newer, older in reversed([*pairwise(names)]):
            if newer.exists():
                newer.replace(older)
        shutil.copyfile(self.log, names[0])
        os.truncate(self.log, 0)
        self._log_start = 0

    def send(self, sig: signal.Signals) -> None:
        """Send a signal to the process, not to its children. Do nothing if it has ended."""
        if self.alive:
            self._popen.send_signal(sig)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of the process; return False if it takes longer than `timeout_s`."""
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill_group(self) -> None:
        """Kill what is left of the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def _read_log(self) -> str:
        """Return the log since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _failure(self, what: str) -> str:
        """Return the message of a failure: the part, the cause if the log tells it, the log."""
        cause = find_cause(self._read_log().splitlines())
        return f"{self.name} {what}{f': {cause}' if cause else ''}\n{self.tail()}"

    def _launch(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "start parts in the main thread: a part dies with the thread that started it"
            )
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


def find_cause(lines: Sequence[str]) -> str:
    """Return the last line of a log that tells why a process ended, or an empty text.

    A traceback ends with its cause; its other lines are indented.
    """
    causes = [line for line in lines if _CAUSE.search(line) and not line.startswith((" ", "\t"))]
    told = [line for line in causes if not line.startswith("Traceback")]
    return told[-1].strip() if told else ""


def stop(procs: Sequence[Process], grace_s: float) -> None:
    """Send SIGTERM to all, wait `grace_s` seconds in total, then kill what is left."""
    for proc in procs:
        proc.send(signal.SIGTERM)
        proc.send(signal.SIGCONT)  # a paused process gets the SIGTERM only then
    end = time.monotonic() + grace_s
    for proc in procs:
        proc.wait(max(0.0, end - time.monotonic()))
        proc.kill_group()


def _leash() -> list[str]:
    """Return the exec wrapper that sets PR_SET_PDEATHSIG; util-linux brings it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
