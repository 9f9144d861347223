"""The engine's own process: `python -m forebay.workers.engines.host.child`.

`process.py` starts this process and reads its replies. The process always ends with the worker that
started it: at the end of its standard input, or, if it cannot see that, by a signal of the kernel.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from io import BufferedReader
from itertools import groupby
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, cast

from forebay.routing.errors import EngineDied, ForebayError, InvalidJob, Unavailable
from forebay.routing.log_lines.line_handler import to_stderr
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.batching.error_location import error_location
from forebay.workers.engines.engine import Completion, Engine, Frame, Vectors
from forebay.workers.engines.host import protocol
from forebay.workers.engines.registry import ENGINES
from forebay.workers.engines.settings import EngineSettings

_EXIT_BROKEN = 70  # the exit code of a broken engine; EX_SOFTWARE
_PR_SET_PDEATHSIG = 1
_REPLIES_AT_ONCE = 64  # in one write
_SWITCH_S = 0.0005  # Python's own 5 ms would delay each step of the batch beside an embedding


def make_engine(settings: EngineSettings) -> Engine:
    """Open the engine of these settings in this process; only its own libraries are imported.

    Raises:
        Misconfigured: A setting is wrong.
        Unavailable: A package is missing.
        EngineUnavailable: This machine cannot run the engine.
    """
    module, _, name = ENGINES[settings.engine].target.partition(":")
    engine_class = getattr(importlib.import_module(module), name)
    return cast("Engine", engine_class(settings))


class Child:
    """Carries out the commands that come by one pipe and replies on the other.

    Duties:
    1. Read commands from the first moment on, and end the process when the pipe ends.
    2. Open the engine, or reply why that failed.
    3. Pass requests to the engine and reply with their answers, in whatever order they come.
    4. Send the step counter at every beat.
    5. End the process if the engine broke: the supervisor starts a new one.
    """

    def __init__(self, source: BufferedReader, sink: BinaryIO) -> None:
        self._source = source
        self._replies = Replies(sink)
        self._engine: Engine | None = None
        self._early: queue.SimpleQueue[protocol.Command] = queue.SimpleQueue()
        self._opening = threading.Lock()
        self._embed_thread = ThreadPoolExecutor(1, "embed")

    def run(self) -> NoReturn:
        """Carry out commands until the pipe ends."""
        threading.Thread(target=self._read, daemon=True).start()
        start = self._early.get()
        assert isinstance(start, protocol.Start)
        engine = self._open(EngineSettings(**start.settings))
        self._replies.put(protocol.Ready(info=engine.info()))
        with self._opening:
            while not self._early.empty():
                self._carry_out(engine, self._early.get())
            self._engine = engine
        while True:
            time.sleep(start.beat_s)
            self._replies.put(protocol.Beat(steps=engine.steps(), pages=engine.pages()))

    def _read(self) -> None:
        for lines in protocol.lines(self._source):
            for line in lines:
                self._take(protocol.read_command(line))
        os._exit(0)

    def _take(self, command: protocol.Command) -> None:
        """Carry out a command on the thread that read it, or keep it until the engine is open."""
        with self._opening:
            engine = self._engine
            if engine is None:
                self._early.put(command)
                return
        self._carry_out(engine, command)

    def _open(self, settings: EngineSettings) -> Engine:
        try:
            return make_engine(settings)
        except ForebayError as error:
            self._replies.put(protocol.Failed.of("", error))
        except Exception as error:  # noqa: BLE001 - the worker must hear of it, whatever it was
            reason = Unavailable(f"the engine could not start: {error_location(error)}")
            self._replies.put(protocol.Failed.of("", reason))
        self._replies.close()
        os._exit(_EXIT_BROKEN)

    def _carry_out(self, engine: Engine, command: protocol.Command) -> None:
        match command:
            case protocol.Submit(key=key, prompt=prompt):
                on_text = partial(self._tell, key) if prompt.stream else None
                engine.submit(prompt, on_text).add_done_callback(partial(self._reply, key))
            case protocol.SubmitAlike(prompt=prompt, contents=contents, keys=keys):
                by_id = dict(zip(contents, keys, strict=True))
                engine.submit_alike(
                    prompt, contents, lambda one, end: self._tell_end(by_id[one], end)
                )
            case protocol.Cancel(prompt_id=prompt_id):
                engine.cancel(prompt_id)
            case protocol.Embed(key=key, texts=texts):
                vectors = self._embed_thread.submit(engine.embed, list(texts))
                vectors.add_done_callback(partial(self._reply, key))
            case protocol.Start():
                raise InvalidJob("the engine was started already", field="op")

    def _tell(self, key: str, text: str, tokens: Sequence[TokenLogprob] = ()) -> None:
        self._replies.put(protocol.Text(key=key, text=text, tokens=tuple(tokens)))

    def _reply(self, key: str, future: Future[Completion] | Future[Vectors]) -> None:
        self._tell_end(key, future.exception() or future.result())

    def _tell_end(self, key: str, end: Completion | Vectors | BaseException) -> None:
        if isinstance(end, Completion):
            self._replies.put_completion(key, end)
        elif isinstance(end, Vectors):
            self._replies.put(protocol.Embedded(key=key, vectors=end))
        else:
            self._tell_error(key, end)

    def _tell_error(self, key: str, error: BaseException) -> None:
        if not isinstance(error, ForebayError):
            error = EngineDied(f"the engine broke: {error_location(error)}")
        self._replies.put(protocol.Failed.of(key, error))
        if isinstance(error, EngineDied):
            self._replies.close()
            os._exit(_EXIT_BROKEN)


class Replies:
    """Writes replies to the worker, those that come together in one write."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._waiting: queue.SimpleQueue[_Reply | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="replies", daemon=True)
        self._thread.start()

    def put(self, reply: Frame) -> None:
        """Have a reply written soon."""
        self._waiting.put(reply)

    def put_completion(self, key: str, completion: Completion) -> None:
        """Have a completion written soon, with others in one reply."""
        self._waiting.put((key, completion))

    def close(self) -> None:
        """Write the replies that wait, and no more."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            waiting = [self._waiting.get()]
            while len(waiting) < _REPLIES_AT_ONCE and not self._waiting.empty():
                waiting.append(self._waiting.get())
            replies = [reply for reply in waiting if reply is not None]
            more = len(replies) == len(waiting)
            try:
                protocol.write(_together(replies), self._sink)
            except OSError:  # the worker reads no more
                os._exit(0)


#: A reply, or a completion and the key of its request.
_Reply = Frame | tuple[str, Completion]


def _together(replies: Iterable[_Reply]) -> Iterator[Frame]:
    """Yield the replies in their order; completions in a row are one reply."""
    for alone, group in groupby(replies, lambda reply: isinstance(reply, Frame)):
        if alone:
            yield from cast("Iterator[Frame]", group)
        else:
            yield protocol.Completed(completions=dict(cast("Any", group)))


def claim_pipes() -> tuple[BufferedReader, BinaryIO]:
    """Take standard input and output for the protocol, so that no library can print into it."""
    source, sink = os.dup(0), os.dup(1)
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    os.close(devnull)
    os.dup2(2, 1)
    return os.fdopen(source, "rb"), os.fdopen(sink, "wb")


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the thread that started this process ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _end_broken(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """End the process without a traceback, whose last line may quote a job."""
    del kind, trace
    sys.stderr.write(f"the engine's process broke: {error_location(error)}\n")
    os._exit(_EXIT_BROKEN)


def _end_broken_thread(args: Any) -> None:
    _end_broken(args.exc_type, args.exc_value, args.exc_traceback)


def main() -> NoReturn:
    """Run the engine's process."""
    sys.excepthook = _end_broken
    threading.excepthook = _end_broken_thread
    to_stderr(logging.INFO)
    sys.setswitchinterval(_SWITCH_S)
    die_with_parent()
    source, sink = claim_pipes()
    Child(source, sink).run()


if __name__ == "__main__":
    main()
