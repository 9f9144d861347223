"""One life of an engine's process, seen from the worker: its pipes, and what is asked of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, cast

import forebay
from forebay.routing.errors import EngineBusy, EngineDied, ForebayError, Unavailable
from forebay.workers.engines.engine import Completion, EngineInfo, Frame, Vectors
from forebay.workers.engines.host import protocol
from forebay.workers.engines.settings import EngineSettings

_INSTALLED_IN = Path(forebay.__file__).resolve().parents[1]
_CLOSE_S = 5.0
_STUCK_S = 1.0
_BEATS = 4  # in the time after which a silent engine is killed
_BEAT_S = 0.5  # at most

Answer = Completion | Vectors


class EngineProcess:
    """Starts at once; ends when told, when it breaks, or with this process.

    It must be made by a thread that lives as long as it: the kernel's signal that makes it die with
    its parent goes by the parent's thread.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.gone = threading.Event()
        self.steps = 0
        self._hang_s = settings.hang_s
        self._moved_at = time.monotonic()
        self._writing = threading.Lock()
        self._asked = threading.Lock()
        self._pending: dict[str, Future[Answer]] = {}
        self._over = False
        self._ready: Future[EngineInfo] = Future()
        self._process = _spawn()
        self._stdin = cast("BinaryIO", self._process.stdin)
        self._stdout = cast("BinaryIO", self._process.stdout)
        threading.Thread(target=self._read, name="engine-replies", daemon=True).start()
        start = protocol.Start(settings=settings.model_dump(mode="json"), beat_s=self.beat_s)
        self.tell(start)

    @property
    def pid(self) -> int:
        """Of the engine's process."""
        return self._process.pid

    @property
    def takes_work(self) -> bool:
        """Not after it said that its engine broke, or ended."""
        return not self._over

    @property
    def beat_s(self) -> float:
        """Seconds between two reports of the step counter."""
        return min(_BEAT_S, self._hang_s / _BEATS)

    def info(self, timeout_s: float) -> EngineInfo:
        """Wait until the engine is made.

        Raises:
            Unavailable: It was not in time, or ended before.
            ForebayError: Whatever the engine itself said.
        """
        try:
            return self._ready.result(timeout_s)
        except TimeoutError:
            self.kill()
            raise Unavailable(f"the engine was not ready after {timeout_s:g} s") from None

    def ask(self, key: str, frame: Frame) -> Future[Answer]:
        """Send a command that will be answered; `EngineBusy` where the process takes none."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()
        with self._asked:
            over = self._over
            if not over:
                if not self._pending:
                    self._moved_at = time.monotonic()
                self._pending[key] = future
        if over:
            future.set_exception(EngineBusy("the engine is started again", retry_after=1.0))
        else:
            self.tell(frame)
        return future

    def tell(self, frame: Frame) -> None:
        """Send a command; to a process that is gone, nothing happens."""
        # At its end the reader fails what was asked; nothing is to be done here.
        with self._writing, contextlib.suppress(OSError, ValueError):
            protocol.write(frame, self._stdin)

    def hangs(self) -> bool:
        """Whether it has work in hand and has made no step for too long."""
        with self._asked:
            return bool(self._pending) and time.monotonic() - self._moved_at > self._hang_s

    def kill(self) -> None:
        """At once."""
        self._process.kill()

    def close(self) -> None:
        """End it: by the end of its input, or by force."""
        if not (self._end_input() and self.gone.wait(_CLOSE_S)):
            self.kill()
            self.gone.wait(_CLOSE_S)

    def _end_input(self) -> bool:
        """False when somebody is stuck in writing, because the process reads no more."""
        if not self._writing.acquire(timeout=_STUCK_S):
            return False
        try:
            with contextlib.suppress(OSError):  # half a command was left, and it is gone
                self._stdin.close()
        finally:
            self._writing.release()
        return True

    # --- the reader's thread ---

    def _read(self) -> None:
        try:
            for line in self._stdout:
                self._receive(protocol.read_reply(line))
        except ValueError:  # it talks nonsense: half a line at its death, or worse
            self.kill()
        self._process.wait()
        self._stdout.close()
        self._end_input()
        self._fail_all(f"the engine's process ended ({_how(self._process.returncode)})")
        self.gone.set()

    def _receive(self, reply: protocol.Reply) -> None:
        match reply:
            case protocol.Beat(steps=steps):
                if steps != self.steps:
                    self.steps, self._moved_at = steps, time.monotonic()
            case protocol.Ready(info=info):
                self._ready.set_result(info)
            case protocol.Failed(key=""):
                self._ready.set_exception(reply.error())
            case protocol.Failed(key=key):
                error = reply.error()
                if isinstance(error, EngineDied):  # it is about to end
                    self._over = True
                self._settle(key, error)
            case protocol.Completed(key=key, completion=completion):
                self._settle(key, completion)
            case protocol.Embedded(key=key, vectors=vectors):
                self._settle(key, vectors)

    def _settle(self, key: str, outcome: Answer | ForebayError) -> None:
        with self._asked:
            self._moved_at = time.monotonic()
            future = self._pending.pop(key, None)
        if future is None:
            return
        if isinstance(outcome, ForebayError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _fail_all(self, why: str) -> None:
        with self._asked:
            self._over = True
            pending = list(self._pending.values())
            self._pending.clear()
        if not self._ready.done():
            self._ready.set_exception(Unavailable(why))
        for future in pending:
            future.set_exception(EngineDied(why))


def _spawn() -> subprocess.Popen[bytes]:
    """The process, with the very code that runs here.

    In a session of its own: a Ctrl-C ends the worker, which ends the engine when it has drained.
    """
    paths = [str(_INSTALLED_IN), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "forebay.workers.engines.host.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )
    except OSError as error:  # no memory for it, say: that may pass
        raise Unavailable(f"no process for the engine: {error.strerror}") from None


def _how(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
