"""One run of an engine's process, seen from the worker: its pipes and the requests in flight."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import forebay
from forebay.routing.errors import EngineBusy, EngineDied, ForebayError, Unavailable
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.engine import (
    CachePages,
    Completion,
    EngineInfo,
    Frame,
    TakeText,
    Vectors,
)
from forebay.workers.engines.host import protocol
from forebay.workers.engines.settings import EngineSettings

_INSTALLED_IN = Path(forebay.__file__).resolve().parents[1]
_CLOSE_S = 5.0  # how long `close` waits for the process to end
_WRITE_LOCK_S = 1.0  # a writer that holds the lock for longer is stuck
_BEATS_BEFORE_KILL = 4  # beats in `hang_s`
_MAX_BEAT_S = 0.5

Answer = Completion | Vectors
#: Takes the answer to a request, or the error that it ended with. It must return at once.
TakeAnswer = Callable[[Answer | ForebayError], object]


class EngineProcess:
    """Starts a process at once; the process ends on `close`, if it breaks, or with the worker.

    Create it on a thread that lives as long as the process: the kernel's signal that ends a process
    with its parent is sent when the parent's thread ends.

    Attributes:
        gone: set when the process has ended and all its requests have failed.
        steps: the step counter that the process reported last.
        pages: how full its cache was then.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.gone = threading.Event()
        self.steps, self.pages = 0, CachePages()
        self._hang_s = settings.hang_s
        self._moved_at = time.monotonic()
        self._write_lock = threading.Lock()
        self._requests_lock = threading.Lock()
        self._requests: dict[str, TakeAnswer] = {}
        self._takers: dict[str, TakeText] = {}
        self._ended = False
        self._ready: Future[EngineInfo] = Future()
        self._process = _spawn()
        self._stdin = cast("BinaryIO", self._process.stdin)
        self._stdout = cast("BufferedReader", self._process.stdout)
        threading.Thread(target=self._read, name="engine-replies", daemon=True).start()
        start = protocol.Start(settings=settings.model_dump(mode="json"), beat_s=self.beat_s)
        self.send(start)

    @property
    def requests(self) -> int:
        """How many requests wait for a reply."""
        return len(self._requests)

    @property
    def takes_work(self) -> bool:
        """False once the process has ended or has reported that its engine broke."""
        return not self._ended

    @property
    def beat_s(self) -> float:
        """Seconds between two reports of the step counter."""
        return min(_MAX_BEAT_S, self._hang_s / _BEATS_BEFORE_KILL)

    def info(self, timeout_s: float) -> EngineInfo:
        """Wait until the engine is ready, and return its description.

        Raises:
            Unavailable: The engine was not ready in time, or the process ended before.
            ForebayError: The error that the engine reported.
        """
        try:
            return self._ready.result(timeout_s)
        except TimeoutError:
            self.kill()
            raise Unavailable(f"the engine was not ready after {timeout_s:g} s") from None

    def request(self, key: str, command: Frame, on_text: TakeText | None = None) -> Future[Answer]:
        """Send a command that has a reply. The future fails with `EngineBusy` if none is taken."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()
        with self._requests_lock:
            if on_text is not None and not self._ended:
                self._takers[key] = on_text
        self.request_all([command], {key: partial(_end, future)})
        return future

    def request_all(
        self, commands: Sequence[Frame], take_answers: Mapping[str, TakeAnswer]
    ) -> None:
        """Send commands that have replies, in one write.

        The function that stands for a command's key takes the answer or the error. All take
        `EngineBusy` if no command is taken.
        """
        with self._requests_lock:
            ended = self._ended
            if not ended:
                if not self._requests:
                    self._moved_at = time.monotonic()
                self._requests.update(take_answers)
        if ended:
            for take in take_answers.values():
                take(EngineBusy("the engine is being restarted", retry_after=1.0))
        else:
            self.send(*commands)

    def send(self, *commands: Frame) -> None:
        """Send commands. If the process is gone, do nothing."""
        # When the process ends, the reader's thread fails its requests: no error is needed here.
        with self._write_lock, contextlib.suppress(OSError, ValueError):
            protocol.write(commands, self._stdin)

    def hangs(self) -> bool:
        """Return whether the process has work and has made no step for `hang_s`."""
        with self._requests_lock:
            return bool(self._requests) and time.monotonic() - self._moved_at > self._hang_s

    def kill(self) -> None:
        """Kill the process at once."""
        self._process.kill()

    def close(self) -> None:
        """End the process: by closing its input, or by force."""
        if not (self._close_input() and self.gone.wait(_CLOSE_S)):
            self.kill()
            self.gone.wait(_CLOSE_S)

    def _close_input(self) -> bool:
        """Return False if a writer is stuck because the process reads no more."""
        if not self._write_lock.acquire(timeout=_WRITE_LOCK_S):
            return False
        try:
            with contextlib.suppress(OSError):  # half a command was left, and the process is gone
                self._stdin.close()
        finally:
            self._write_lock.release()
        return True

    # --- the reader's thread ---

    def _read(self) -> None:
        try:
            for lines in protocol.lines(self._stdout):
                for line in lines:
                    self._receive(protocol.read_reply(line))
        except ValueError:  # an unreadable reply: half a line at the process's death, or worse
            self.kill()
        self._process.wait()
        self._stdout.close()
        self._close_input()
        self._fail_all(f"the engine's process ended ({_exit_reason(self._process.returncode)})")
        self.gone.set()

    def _receive(self, reply: protocol.Reply) -> None:
        match reply:
            case protocol.Beat(steps=steps, pages=pages):
                self._count(steps)
                self.pages = pages
            case protocol.Ready(info=info):
                self._ready.set_result(info)
            case protocol.Failed(key=""):
                self._ready.set_exception(reply.error())
            case protocol.Failed(key=key):
                error = reply.error()
                if isinstance(error, EngineDied):  # the process is about to end
                    self._ended = True
                self._resolve_all({key: error})
            case protocol.Text(key=key, text=text, tokens=tokens):
                self._takers.get(key, _nobody)(text, tokens)
            case protocol.Completed(completions=completions):
                self._resolve_all(completions)
            case protocol.Embedded(key=key, vectors=vectors):
                self._resolve_all({key: vectors})

    def _count(self, steps: int) -> None:
        if steps != self.steps:
            self.steps, self._moved_at = steps, time.monotonic()

    def _resolve_all(self, answers: Mapping[str, Answer | ForebayError]) -> None:
        with self._requests_lock:
            self._moved_at = time.monotonic()
            takes = [self._requests.pop(key, _nowhere) for key in answers]
            for key in answers.keys() & self._takers.keys():
                del self._takers[key]
        for take, answer in zip(takes, answers.values(), strict=True):
            take(answer)

    def _fail_all(self, reason: str) -> None:
        with self._requests_lock:
            self._ended = True
            waiting = list(self._requests.values())
            self._requests.clear()
            self._takers.clear()
        if not self._ready.done():
            self._ready.set_exception(Unavailable(reason))
        for take in waiting:
            take(EngineDied(reason))


def _end(future: Future[Answer], answer: Answer | ForebayError) -> None:
    if isinstance(answer, ForebayError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _nowhere(answer: Answer | ForebayError) -> None:
    """Drop an answer that nobody waits for."""


def _nobody(text: str, tokens: Sequence[TokenLogprob] = ()) -> None:
    """Drop text of a request that has ended."""


def _spawn() -> subprocess.Popen[bytes]:
    """Start the process with the very code that runs here.

    The process has a session of its own: a Ctrl-C ends the worker alone, which ends the engine when
    it has drained.
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
    except OSError as error:  # no memory for it, for example: that may pass
        raise Unavailable(f"the engine's process cannot be started: {error.strerror}") from None


def _exit_reason(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
