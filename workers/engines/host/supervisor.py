"""An engine in its own process, supervised: if it crashes or hangs, jobs are tried again, not lost.

Native model code holds the GIL, crashes and hangs. The worker, which renews leases and answers
Celery, must do none of these.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, cast
from weakref import WeakSet

from forebay.routing.errors import EngineBusy, EngineDied, ForebayError
from forebay.routing.logs import Event, event
from forebay.workers.engines.engine import (
    CachePages,
    Completion,
    Engine,
    EngineInfo,
    Frame,
    Prompt,
    TakeEnd,
    TakeText,
    Vectors,
)
from forebay.workers.engines.host import protocol
from forebay.workers.engines.host.process import EngineProcess, TakeAnswer
from forebay.workers.engines.host.submissions import submissions
from forebay.workers.engines.settings import EngineSettings

log = logging.getLogger(__name__)

_MIN_PAUSE_S = 1.0  # before the second restart in a row
_MAX_PAUSE_S = 5.0
_STABLE_S = 10.0  # a process that ran for so long ends a row of early deaths


def open_engine(settings: EngineSettings) -> SupervisedEngine:
    """Start the engine of these settings in a process of its own, and wait until it is ready.

    Raises:
        Misconfigured: A setting is wrong, or the model file.
        Unavailable: A package is missing, or the engine was not ready within `start_s`.
    """
    return SupervisedEngine(settings)


#: The engines that are open in this process.
_open_engines: WeakSet[SupervisedEngine] = WeakSet()


class SupervisedEngine(Engine):
    """An `Engine` in a process that may die.

    Duties:
    1. Start the process; if the first start fails, raise the engine's own error.
    2. Kill the process if it has work and makes no step for `hang_s` (a watchdog).
    3. If the process ends, fail the requests in flight with `EngineDied` and restart the process:
       at once the first time, after growing pauses (1 s to 5 s) if it dies early repeatedly.
    4. While there is no process, refuse work at once with `EngineBusy` and the time to wait.

    Attributes:
        restarts: how often the process ended, and was started again.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self.restarts = 0
        self._keys = itertools.count()
        self._closing = threading.Event()
        self._process: EngineProcess | None = None
        self._past_steps = 0
        self._pause_s = 0.0
        self._first_info: Future[EngineInfo] = Future()
        # The process belongs to this thread, which lives until `close` (see `EngineProcess`).
        self._thread = threading.Thread(target=self._supervise, name="engine-host", daemon=True)
        self._thread.start()
        try:
            self._info: EngineInfo = self._first_info.result()
        except ForebayError:
            self._thread.join()
            raise
        _open_engines.add(self)

    # --- the contract ---

    def info(self) -> EngineInfo:
        """See `Engine.info`; as the last process reported it."""
        return self._info

    def submit(self, prompt: Prompt, on_text: TakeText | None = None) -> Future[Completion]:
        """See `Engine.submit`."""
        key = f"p{next(self._keys)}"
        command = protocol.Submit(key=key, prompt=prompt)
        return cast("Future[Completion]", self._request(key, command, on_text))

    def submit_all(self, prompts: Sequence[Prompt], on_end: TakeEnd) -> None:
        """See `Engine.submit_all`: they go to the process in one write."""
        takes = self._takes([prompt.id for prompt in prompts], on_end)
        self._request_all(submissions(list(takes), prompts), takes)

    def submit_alike(self, prompt: Prompt, contents: Mapping[str, str], on_end: TakeEnd) -> None:
        """See `Engine.submit_alike`: what they have in common goes to the process once."""
        takes = self._takes(contents, on_end)
        command = protocol.SubmitAlike(prompt=prompt, contents=dict(contents), keys=tuple(takes))
        self._request_all([command], takes)

    def _takes(self, prompt_ids: Iterable[str], on_end: TakeEnd) -> dict[str, TakeAnswer]:
        """Return what takes the ends of prompts, by new keys for their requests."""
        on_end_of = cast("Any", on_end)
        return {f"p{next(self._keys)}": partial(on_end_of, prompt_id) for prompt_id in prompt_ids}

    def cancel(self, prompt_id: str) -> None:
        """See `Engine.cancel`."""
        if process := self._process:
            process.send(protocol.Cancel(prompt_id=prompt_id))

    def embed(self, texts: list[str]) -> Vectors:
        """See `Engine.embed`."""
        key = f"e{next(self._keys)}"
        future = self._request(key, protocol.Embed(key=key, texts=tuple(texts)))
        return cast("Vectors", future.result())

    def steps(self) -> int:
        """See `Engine.steps`; as last reported, summed over all runs of the process."""
        process = self._process
        return self._past_steps + (process.steps if process else 0)

    def pages(self) -> CachePages:
        """See `Engine.pages`; as last reported."""
        process = self._process
        return process.pages if process else CachePages()

    def close(self) -> None:
        """See `Engine.close`."""
        _open_engines.discard(self)
        self._closing.set()
        if process := self._process:
            process.close()
        self._thread.join()

    @property
    def requests(self) -> int:
        """How many requests are in the engine: in its batch, or waiting for a place there."""
        process = self._process
        return process.requests if process else 0

    def _request(
        self,
        key: str,
        command: protocol.Submit | protocol.Embed,
        on_text: TakeText | None = None,
    ) -> Future[Any]:
        if process := self._working:
            return process.request(key, command, on_text)
        refused: Future[Any] = Future()
        refused.set_exception(self._refusal())
        return refused

    def _request_all(
        self, commands: Sequence[Frame], take_answers: Mapping[str, TakeAnswer]
    ) -> None:
        if process := self._working:
            process.request_all(commands, take_answers)
            return
        for take in take_answers.values():
            take(self._refusal())

    @property
    def _working(self) -> EngineProcess | None:
        """The process, if it takes work."""
        process = self._process
        closing = self._closing.is_set()
        return process if process and process.takes_work and not closing else None

    def _refusal(self) -> ForebayError:
        if self._closing.is_set():
            return EngineDied("the engine was closed")
        wait_s = max(_MIN_PAUSE_S, self._pause_s)
        return EngineBusy("the engine is being restarted", retry_after=wait_s)

    # --- the supervisor's thread ---

    def _supervise(self) -> None:
        while not self._closing.is_set():
            begun = time.monotonic()
            try:
                self._run_process()
            except ForebayError as error:
                if self._first_info.done():
                    log.error(  # noqa: TRY400 - its message says what to mend
                        "the engine could not be restarted: %s",
                        error,
                        extra=event(Event.ENGINE_DOWN),
                    )
                else:  # the thread that opens the engine raises it
                    self._first_info.set_exception(error)
                    self._closing.set()
            if not self._closing.is_set():
                self._pause(time.monotonic() - begun)

    def _run_process(self) -> None:
        """Start a process and watch it until it ends."""
        process = EngineProcess(self._settings)
        try:
            self._watch(process)
        finally:
            self._process = None
            process.close()
            self._past_steps += process.steps

    def _watch(self, process: EngineProcess) -> None:
        """Give work to the process until it ends; kill it if it hangs."""
        # Read anew each time: the file may have changed, and answers name its revision.
        info = self._info = process.info(self._settings.start_s)
        self._process = process
        if not self._first_info.done():
            self._first_info.set_result(info)
        while not (self._closing.is_set() or process.gone.wait(process.beat_s)):
            if process.hangs():
                log.error(
                    "the engine made no step for %g s: killed",
                    self._settings.hang_s,
                    extra=event(Event.ENGINE_KILLED),
                )
                process.kill()

    def _pause(self, ran_s: float) -> None:
        """Wait before a restart, the longer the more processes in a row died early."""
        if ran_s > _STABLE_S:
            self._pause_s = 0.0
        self.restarts += 1
        log.warning(
            "the engine ended after %.1f s; restart in %g s",
            ran_s,
            self._pause_s,
            extra=event(Event.ENGINE_ENDED),
        )
        self._closing.wait(self._pause_s)
        self._pause_s = min(max(_MIN_PAUSE_S, 2 * self._pause_s), _MAX_PAUSE_S)


def open_engines() -> list[SupervisedEngine]:
    """Return the engines that are open in this process."""
    return list(_open_engines)
