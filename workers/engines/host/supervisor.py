"""An engine in its own process, watched: a crash or a hang there costs its jobs a second try here.

Native model code holds the GIL, crashes and hangs; the worker, which renews leases and answers
Celery, must not.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from concurrent.futures import Future
from typing import Any, cast

from forebay.routing.errors import EngineBusy, EngineDied, ForebayError
from forebay.workers.engines.engine import Completion, Engine, EngineInfo, Prompt, Vectors
from forebay.workers.engines.host import protocol
from forebay.workers.engines.host.process import EngineProcess
from forebay.workers.engines.settings import EngineSettings

log = logging.getLogger(__name__)

_MAX_RESTART_PAUSE_S = 5.0
_SETTLED_S = 10.0  # a life so long ends a row of early deaths


def open_engine(settings: EngineSettings) -> SupervisedEngine:
    """The engine of these settings in a process of its own, ready for work.

    Raises:
        Misconfigured: A setting is wrong, or the model file.
        Unavailable: A package is missing, or the engine was not ready in `start_s`.
    """
    return SupervisedEngine(settings)


class SupervisedEngine(Engine):
    """An `Engine` over a process that may die.

    Duties:
    1. Start the process, and say in its own words why where that fails at first.
    2. Kill it when it has work in hand and makes no step for `hang_s`.
    3. Fail what was in flight with `EngineDied` when it ended, and start it again: at once the
       first time, after growing pauses (1 s to 5 s) when it dies early again and again.
    4. While there is no process, refuse work at once with `EngineBusy` and how long to wait.

    Attributes:
        restarts: how often it was started again.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.restarts = 0
        self._settings = settings
        self._keys = itertools.count()
        self._closing = threading.Event()
        self._process: EngineProcess | None = None
        self._steps = 0
        self._pause_s = 0.0
        self._opened: Future[EngineInfo] = Future()
        # The process belongs to this thread, which lives until `close` (see `EngineProcess`).
        self._thread = threading.Thread(target=self._supervise, name="engine-host", daemon=True)
        self._thread.start()
        try:
            self._info: EngineInfo = self._opened.result()
        except ForebayError:
            self._thread.join()
            raise

    # --- the contract ---

    @property
    def alive(self) -> bool:
        """Whether there is a process that takes work."""
        return self._living() is not None

    @property
    def pid(self) -> int | None:
        """Of the engine's process, while there is one."""
        process = self._living()
        return None if process is None else process.pid

    def info(self) -> EngineInfo:
        """See `Engine.info`; what the last process said."""
        return self._info

    def submit(self, prompt: Prompt) -> Future[Completion]:
        """See `Engine.submit`."""
        key = f"p{next(self._keys)}"
        return cast("Future[Completion]", self._ask(key, protocol.Submit(key=key, prompt=prompt)))

    def cancel(self, prompt_id: str) -> None:
        """See `Engine.cancel`."""
        if process := self._process:
            process.tell(protocol.Cancel(prompt_id=prompt_id))

    def embed(self, texts: list[str]) -> Vectors:
        """See `Engine.embed`; `EngineBusy` while the process is started again."""
        key = f"e{next(self._keys)}"
        future = self._ask(key, protocol.Embed(key=key, texts=tuple(texts)))
        return cast("Vectors", future.result())

    def steps(self) -> int:
        """See `Engine.steps`; as last reported, over all lives of the process."""
        process = self._process
        return self._steps + (process.steps if process else 0)

    def close(self) -> None:
        """See `Engine.close`."""
        self._closing.set()
        if process := self._process:
            process.close()
        self._thread.join()

    def _living(self) -> EngineProcess | None:
        process = self._process
        return process if process is not None and process.takes_work else None

    def _ask(self, key: str, frame: protocol.Submit | protocol.Embed) -> Future[Any]:
        refused: Future[Any] = Future()
        if self._closing.is_set():
            refused.set_exception(EngineDied("the engine was closed"))
        elif process := self._living():
            return process.ask(key, frame)
        else:
            wait_s = max(1.0, self._pause_s)
            refused.set_exception(EngineBusy("the engine is started again", retry_after=wait_s))
        return refused

    # --- the supervisor's thread ---

    def _supervise(self) -> None:
        while not self._closing.is_set():
            begun = time.monotonic()
            try:
                self._life()
            except ForebayError as error:
                if self._opened.done():
                    log.error("the engine could not be started: %s", error)  # noqa: TRY400
                else:  # whoever waits for it says why
                    self._opened.set_exception(error)
                    self._closing.set()
            if not self._closing.is_set():
                self._rest(time.monotonic() - begun)

    def _life(self) -> None:
        """One process, from start to end."""
        process = EngineProcess(self._settings)
        try:
            self._live(process)
        finally:
            self._process = None
            process.close()
            self._steps += process.steps

    def _live(self, process: EngineProcess) -> None:
        """Until the process ends: watch it."""
        # Read anew each time: the file may be another one by now, and answers name its revision.
        info = self._info = process.info(self._settings.start_s)
        self._process = process
        if not self._opened.done():
            self._opened.set_result(info)
        while not (self._closing.is_set() or process.gone.wait(process.beat_s)):
            if process.hangs():
                log.error("the engine made no step for %g s: killed", self._settings.hang_s)
                process.kill()

    def _rest(self, lived_s: float) -> None:
        if lived_s > _SETTLED_S:
            self._pause_s = 0.0
        log.warning("the engine ended after %.1f s; again in %g s", lived_s, self._pause_s)
        self._closing.wait(self._pause_s)
        self._pause_s = min(max(1.0, 2 * self._pause_s), _MAX_RESTART_PAUSE_S)
        self.restarts += not self._closing.is_set()
