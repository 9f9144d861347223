"""The loop of every step-driven engine: admit, step, settle, on one thread.

What makes tokens (`Generator`) is touched by that thread alone. Everything that callers may do from
anywhere, and everything that is the same for all engines, is here: the bounded line in front of the
batch, its order, deadlines, cancellation, futures and the step counter.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from forebay.routing.errors import EngineBusy, EngineDied, ForebayError, InvalidJob
from forebay.workers.engines.batching.generator import Ahead, Generator, Step
from forebay.workers.engines.batching.request import QueuedRequest
from forebay.workers.engines.engine import Completion, Engine, Prompt

log = logging.getLogger(__name__)

_CLOSE_S = 10.0  # how long `close` waits for a step that is under way
_PREPARING = 2  # threads: one long prompt or grammar does not hold up all others
_TICK_S = 0.05  # how late a deadline may be seen while all that wait are being prepared


class BatchedEngine(Engine):
    """An engine's half that does not depend on the model; `info` and `embed` are the subclass's.

    Duties:
    1. Hold at most `waiting_limit` requests that wait for a slot; more is `EngineBusy`.
    2. Have those that wait prepared on threads of their own, best rank first, where there is
       something to prepare.
    3. Fill free slots from those of the line that are ready, best rank first.
    4. Step the generator as long as there is anything to do, and sleep otherwise.
    5. End what was cancelled or is overdue, waiting or running, between two steps.
    6. When a step breaks, fail all requests with `EngineDied` and take no more.
    """

    def __init__(
        self, generator: Generator, *, ahead: Ahead | None = None, waiting_limit: int = 256
    ) -> None:
        self._generator = generator
        self._ahead = ahead
        self._preparing = ThreadPoolExecutor(_PREPARING, "engine-prepare")
        self._limit = waiting_limit
        self._changed = threading.Condition()
        self._waiting: dict[str, QueuedRequest] = {}
        self._running: dict[str, QueuedRequest] = {}
        self._steps = 0
        self._end: str | None = None
        self._thread = threading.Thread(target=self._run, name="engine-batch", daemon=True)
        self._thread.start()

    # --- for callers, from any thread ---

    def submit(self, prompt: Prompt) -> Future[Completion]:
        """See `Engine.submit`. An id that is in flight already is an `InvalidJob`."""
        entry = QueuedRequest(prompt)
        entry.future.set_running_or_notify_cancel()
        with self._changed:
            refusal = self._refusal(prompt)
            if refusal is None:
                self._waiting[prompt.id] = entry
                self._begin(entry)
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
        self._preparing.shutdown(wait=False, cancel_futures=True)
        self._thread.join(_CLOSE_S)
        self._fail_all()

    # --- for subclasses ---

    def _count_step(self) -> None:
        """Progress outside the batch, as in `embed`."""
        with self._changed:
            self._steps += 1

    # --- what is done ahead ---

    def _begin(self, entry: QueuedRequest) -> None:
        """Ready at once, or prepared soon; under the lock, so that `close` cannot come between."""
        ahead = self._ahead
        self._changed.notify()  # also of one that is not ready, for its deadline
        if ahead is None:
            entry.stage = "ready"
        else:
            entry.future.add_done_callback(lambda _: ahead.forget(entry.prompt))
            self._preparing.submit(self._prepare, ahead)

    def _prepare(self, ahead: Ahead) -> None:
        """The best of those that nobody has begun with; there may be none left."""
        with self._changed:
            fresh = [one for one in self._waiting.values() if one.stage == "fresh"]
            if not fresh:
                return
            entry = min(fresh, key=lambda one: one.rank)
            entry.stage = "preparing"
        try:
            ahead.prepare(entry.prompt)
        except Exception as error:  # noqa: BLE001 - whatever broke, nobody may wait for ever
            self._refuse(entry, error)
            return
        with self._changed:
            entry.stage = "ready"
            self._changed.notify()
            waits = self._waiting.get(entry.prompt.id) is entry
        if not waits:
            ahead.forget(entry.prompt)

    def _refuse(self, entry: QueuedRequest, error: Exception) -> None:
        if not isinstance(error, ForebayError):  # its message may quote the job
            error = EngineDied(f"the engine broke: {whereabouts(error)}")
        with self._changed:
            waits = self._waiting.get(entry.prompt.id) is entry
            if waits:
                del self._waiting[entry.prompt.id]
        if waits:
            entry.future.set_exception(error)

    # --- the loop ---

    def _run(self) -> None:
        try:
            while self._await_work():
                self._cut_short()
                self._admit()
                if self._running:
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
            while not (self._end or self._running or self._ready()):
                if not self._changed.wait(_TICK_S if self._waiting else None):
                    break  # for the deadlines of those that are being prepared
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

    def _next(self) -> QueuedRequest | None:
        """The best of the waiting, moved among the running, if there is room for it."""
        with self._changed:
            if len(self._running) >= self._generator.slots or not (ready := self._ready()):
                return None
            # Of equals, `min` takes the first, which came first.
            entry = min(ready, key=lambda one: one.rank)
            # The best waits for room rather than let smaller ones overtake it without end.
            if self._running and not self._generator.fits(entry.prompt):
                return None
            self._running[entry.prompt.id] = self._waiting.pop(entry.prompt.id)
            return entry

    def _ready(self) -> list[QueuedRequest]:
        return [one for one in self._waiting.values() if one.stage == "ready"]

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
