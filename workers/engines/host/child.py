"""The engine's own process: `python -m forebay.workers.engines.host.child`, started and watched by `host.py`.

It ends with the process that started it, in every case: at the end of its standard input, and by
the kernel's signal where even that is not seen.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, BinaryIO, NoReturn

from forebay.routing import logs
from forebay.routing.errors import EngineDied, ForebayError, InvalidJob, Unavailable
from forebay.workers.engines.batching.loop import whereabouts
from forebay.workers.engines.engine import Completion, Engine, Frame, Vectors
from forebay.workers.engines.host import protocol
from forebay.workers.engines.settings import EngineSettings

_BROKEN = 70  # exit code: the engine broke; EX_SOFTWARE
_PR_SET_PDEATHSIG = 1


def make_engine(settings: EngineSettings) -> Engine:
    """The engine of these settings, in this process.

    Raises:
        Misconfigured: A setting is wrong.
        Unavailable: A package is missing.
        EngineUnavailable: This machine cannot run it.
    """
    if settings.engine == "echo":
        from forebay.workers.engines.batching.echo import EchoEngine  # noqa: PLC0415 - each engine loads only its own libraries

        return EchoEngine(settings)
    if settings.engine == "exl2":
        from forebay.workers.engines.exllama.exl2 import Exl2Engine  # noqa: PLC0415 - see above

        return Exl2Engine(settings)
    if settings.engine == "exl3":
        from forebay.workers.engines.exllama.exl3 import Exl3Engine  # noqa: PLC0415 - see above

        return Exl3Engine(settings)
    from forebay.workers.engines.llamacpp.llamacpp import LlamaEngine  # noqa: PLC0415 - see above

    return LlamaEngine(settings)


class Child:
    """Works the commands of one pipe and answers on the other.

    Duties:
    1. Read commands from the first moment on, and end the process when there are no more.
    2. Make the engine; say why where that fails.
    3. Pass on requests and their answers, in whatever order they come.
    4. Report the step counter at every beat.
    5. End the process when the engine broke: the host starts a fresh one.
    """

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._writing = threading.Lock()
        self._commands: queue.SimpleQueue[protocol.Command] = queue.SimpleQueue()
        self._embedding = ThreadPoolExecutor(1, "embed")

    def run(self) -> NoReturn:
        """Until the pipe ends."""
        threading.Thread(target=self._read, daemon=True).start()
        start = self._commands.get()
        assert isinstance(start, protocol.Start)
        engine = self._make(EngineSettings(**start.settings))
        self._send(protocol.Ready(info=engine.info()))
        threading.Thread(target=self._beat, args=(engine, start.beat_s), daemon=True).start()
        while True:
            self._work(engine, self._commands.get())

    def _read(self) -> None:
        for line in self._source:
            self._commands.put(protocol.read_command(line))
        os._exit(0)

    def _make(self, settings: EngineSettings) -> Engine:
        try:
            return make_engine(settings)
        except ForebayError as error:
            self._send(protocol.Failed.of("", error))
        except Exception as error:  # noqa: BLE001 - the host must hear of whatever it was
            reason = Unavailable(f"the engine could not start: {whereabouts(error)}")
            self._send(protocol.Failed.of("", reason))
        os._exit(_BROKEN)

    def _work(self, engine: Engine, command: protocol.Command) -> None:
        match command:
            case protocol.Submit(key=key, prompt=prompt):
                engine.submit(prompt).add_done_callback(partial(self._answer, key))
            case protocol.Cancel(prompt_id=prompt_id):
                engine.cancel(prompt_id)
            case protocol.Embed(key=key, texts=texts):
                vectors = self._embedding.submit(engine.embed, list(texts))
                vectors.add_done_callback(partial(self._answer, key))
            case protocol.Start():
                raise InvalidJob("was started already", field="op")

    def _answer(self, key: str, future: Future[Completion] | Future[Vectors]) -> None:
        error = future.exception()
        if error is None:
            made = future.result()
            if isinstance(made, Completion):
                self._send(protocol.Completed(key=key, completion=made))
            else:
                self._send(protocol.Embedded(key=key, vectors=made))
            return
        if not isinstance(error, ForebayError):
            error = EngineDied(f"the engine broke: {whereabouts(error)}")
        self._send(protocol.Failed.of(key, error))
        if isinstance(error, EngineDied):
            os._exit(_BROKEN)

    def _beat(self, engine: Engine, beat_s: float) -> None:
        while True:
            time.sleep(beat_s)
            self._send(protocol.Beat(steps=engine.steps()))

    def _send(self, frame: Frame) -> None:
        with self._writing:
            try:
                protocol.write(frame, self._sink)
            except OSError:  # nobody reads any more
                os._exit(0)


def claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the protocol, so that no library's print gets into it."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(source, "rb"), os.fdopen(sink, "wb")


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent's thread that started us ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Instead of a traceback, whose last line may quote a job."""
    del kind, trace
    sys.stderr.write(f"the engine's process broke: {whereabouts(error)}\n")
    os._exit(_BROKEN)


def _end_thread(args: Any) -> None:
    _end(args.exc_type, args.exc_value, args.exc_traceback)


def main() -> NoReturn:
    """The process."""
    sys.excepthook = _end
    threading.excepthook = _end_thread
    logs.to_stderr(logging.INFO)
    die_with_parent()
    source, sink = claim_pipes()
    Child(source, sink).run()


if __name__ == "__main__":
    main()
