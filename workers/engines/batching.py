"""The loop of every step-driven engine: admit, step, settle, on one thread.

What makes tokens (`Generator`) is touched by that thread alone. Everything that callers may do from
anywhere, and everything that is the same for all engines, is here: the bounded line in front of the
batch, its order, deadlines, cancellation, futures and the step counter.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from routing.errors import EngineBusy, EngineDied, ForebayError, InvalidJob

from .engine import Completion, Engine, Prompt

log = logging.getLogger(__name__)

_CLOSE_S = 10.0  # how long `close` waits for a step that is under way


@dataclass(frozen=True)
class Step:
    """What one step brought.

    Attributes:
        moved: something was done; only such steps count as progress for the watchdog.
        ended: by id, the completion of a sequence, or the error that ended it. A dropped sequence
            ends here too, with `finish="cancelled"` and what there was until then.
    """

    moved: bool
    ended: Mapping[str, Completion | ForebayError] = field(default_factory=dict)


class Generator(Protocol):
    """What makes tokens, one step at a time. Called by the loop's thread only."""

    @property
    def slots(self) -> int:
        """Sequences it works on at once."""

    def fits(self, prompt: Prompt) -> bool:
        """Is there room for it beside what runs now? Not asked when nothing runs."""

    def admit(self, prompt: Prompt) -> None:
        """Take it into the batch.

        Raises:
            InvalidJob: It can never be answered here; `TooLong` among them.
        """

    def step(self) -> Step:
        """Move every sequence on, within a fraction of a second. An error here is the end."""

    def drop(self, prompt_id: str) -> None:
        """Cut it short; one of the next steps hands over what there is."""

    def close(self) -> None:
        """Give everything back."""


@dataclass
class _Entry:
    """A request on its way through the loop."""

    prompt: Prompt
    future: Future[Completion] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    queued_s: float = 0.0
    cut: Literal["cancelled", "deadline"] | None = None

    @property
    def rank(self) -> tuple[int, float]:
        """Who is next: priority, then the earliest deadline; the line itself is in order."""
        deadline = self.prompt.deadline
        return (self.prompt.priority, math.inf if deadline is None else deadline)

    def overdue(self, now: float) -> bool:
        return self.prompt.deadline is not None and now >= self.prompt.deadline

    def unstarted(self) -> Completion:
        """The completion of a request that never reached the batch."""
        return Completion(
            id=self.prompt.id,
            text="",
            tokens_in=0,
            tokens_out=0,
            finish=self.cut or "cancelled",
            queued_s=time.monotonic() - self.since,
        )


class BatchedEngine(Engine):
    """An engine's half that does not depend on the model; `info` and `embed` are the subclass's.

    Duties:
    1. Hold at most `waiting_limit` requests that wait for a slot; more is `EngineBusy`.
    2. Fill free slots from the line, best rank first.
    3. Step the generator as long as there is anything to do, and sleep otherwise.
    4. End what was cancelled or is overdue, waiting or running, between two steps.
    5. When a step breaks, fail all requests with `EngineDied` and take no more.
    """

    def __init__(self, generator: Generator, *, waiting_limit: int = 256) -> None:
        self._generator = generator
        self._limit = waiting_limit
        self._changed = threading.Condition()
        self._waiting: dict[str, _Entry] = {}
        self._running: dict[str, _Entry] = {}
        self._steps = 0
        self._end: str | None = None
        self._thread = threading.Thread(target=self._run, name="engine-batch", daemon=True)
        self._thread.start()

    # --- for callers, from any thread ---

    def submit(self, prompt: Prompt) -> Future[Completion]:
        """See `Engine.submit`. An id that is in flight already is an `InvalidJob`."""
        entry = _Entry(prompt)
        entry.future.set_running_or_notify_cancel()
        with self._changed:
            refusal = self._refusal(prompt)
            if refusal is None:
                self._waiting[prompt.id] = entry
                self._changed.notify()
        if refusal is not None:
            entry.future.set_exception(refusal)
        return entry.future

    def cancel(self, prompt_id: str) -> None:
        """See `Engine.cancel`."""
        with self._changed:
            entry = self._waiting.pop(prompt_id, None)
            if entry is None and (running := self._running.get(prompt_id)):
                running.cut = running.cut or "cancelled"
        if entry is not None:
            entry.future.set_result(entry.unstarted())

    def steps(self) -> int:
        """See `Engine.steps`."""
        return self._steps

    def close(self) -> None:
        """See `Engine.close`."""
        self._finish("the engine was closed")
        self._thread.join(_CLOSE_S)
        self._fail_all()

    # --- for subclasses ---

    def _count_step(self) -> None:
        """Progress outside the batch, as in `embed`."""
        with self._changed:
            self._steps += 1

    # --- the loop ---

    def _run(self) -> None:
        try:
            while self._await_work():
                self._cut_short()
                self._admit()
                self._settle(self._generator.step())
            self._generator.close()
        except Exception as error:  # noqa: BLE001 - whatever broke, nobody may wait for ever
            # Neither message nor traceback: both can hold what the batch was working on.
            log.error("the engine broke: %s", whereabouts(error))  # noqa: TRY400
            self._finish(f"the engine broke ({type(error).__name__})")
        self._fail_all()

    def _await_work(self) -> bool:
        """Sleep until there is something to do; False when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._end or self._waiting or self._running)
            return self._end is None

    def _cut_short(self) -> None:
        now = time.time()
        with self._changed:
            late = [one for one in self._waiting.values() if one.overdue(now)]
            for entry in late:
                del self._waiting[entry.prompt.id]
            for entry in self._running.values():
                if entry.cut is None and entry.overdue(now):
                    entry.cut = "deadline"
            cut = [one.prompt.id for one in self._running.values() if one.cut]
        for entry in late:
            entry.cut = "deadline"
            entry.future.set_result(entry.unstarted())
        for prompt_id in cut:
            self._generator.drop(prompt_id)

    def _admit(self) -> None:
        while (entry := self._next()) is not None:
            entry.queued_s = time.monotonic() - entry.since
            try:
                self._generator.admit(entry.prompt)
            except ForebayError as error:
                self._settle(Step(moved=True, ended={entry.prompt.id: error}))

    def _next(self) -> _Entry | None:
        """The best of the waiting, moved among the running, if there is room for it."""
        with self._changed:
            if not self._waiting or len(self._running) >= self._generator.slots:
                return None
            # Of equals, `min` takes the first, which came first.
            entry = min(self._waiting.values(), key=lambda one: one.rank)
            # The best waits for room rather than let smaller ones overtake it without end.
            if self._running and not self._generator.fits(entry.prompt):
                return None
            self._running[entry.prompt.id] = self._waiting.pop(entry.prompt.id)
            return entry

    def _settle(self, step: Step) -> None:
        with self._changed:
            self._steps += step.moved
            ended = [
                (entry, outcome)
                for prompt_id, outcome in step.ended.items()
                if (entry := self._running.pop(prompt_id, None))
            ]
        for entry, outcome in ended:
            if isinstance(outcome, ForebayError):
                entry.future.set_exception(outcome)
                continue
            finish = outcome.finish if outcome.finish != "cancelled" else entry.cut or "cancelled"
            update = {"finish": finish, "queued_s": entry.queued_s}
            entry.future.set_result(outcome.model_copy(update=update))

    # --- ends ---

    def _refusal(self, prompt: Prompt) -> ForebayError | None:
        if self._end is not None:
            return EngineDied(self._end)
        if prompt.id in self._waiting or prompt.id in self._running:
            return InvalidJob("a request of this id is in flight", field="id")
        if len(self._waiting) >= self._limit:
            return EngineBusy(f"{self._limit} requests wait already")
        return None

    def _finish(self, why: str) -> None:
        with self._changed:
            self._end = self._end or why
            self._changed.notify()

    def _fail_all(self) -> None:
        with self._changed:
            entries = [*self._waiting.values(), *self._running.values()]
            self._waiting.clear()
            self._running.clear()
        for entry in entries:
            entry.future.set_exception(EngineDied(self._end or "the engine ended"))


def whereabouts(error: BaseException) -> str:
    """Type and place of an error, and nothing of its message, which may quote a job."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None:
        return type(error).__name__
    code = at.tb_frame.f_code
    return f"{type(error).__name__} at {Path(code.co_filename).name}:{at.tb_lineno}"
