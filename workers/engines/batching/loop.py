"""The step loop of every engine: admit, step, settle, on one thread.

Only that thread touches the generator (`Generator`), which makes the tokens. The parts that are the
same for all engines are here: the queue in front of the batch, its order, deadlines, and futures.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial

from forebay.routing.errors import EngineBusy, EngineDied, ForebayError, InvalidJob
from forebay.routing.logs import Event, event
from forebay.workers.engines.batching.branches import BranchedRequest
from forebay.workers.engines.batching.error_location import error_location
from forebay.workers.engines.batching.generator import Generator, Preparer, Step
from forebay.workers.engines.batching.preparing import Preparing
from forebay.workers.engines.batching.request import End, QueuedRequest, into
from forebay.workers.engines.batching.slot_shares import SlotShares, reserved_places
from forebay.workers.engines.engine import Completion, Engine, Prompt, TakeEnd, TakeText

log = logging.getLogger(__name__)

_MAX_WAITING = 256  # requests that wait for a slot
_CLOSE_S = 10.0  # how long `close` waits for the current step
_TICK_S = 0.05  # how late a deadline may be noticed while all waiting requests are being prepared


class BatchedEngine(Engine):
    """The half of an engine that does not depend on the model; a subclass adds `info` and `embed`.

    Duties:
    1. Hold at most `max_waiting` requests that wait for a slot; refuse more with `EngineBusy`.
    2. Have waiting requests prepared on other threads, the best rank first, if there is a preparer.
    3. Admit: end overdue requests, then fill free slots with ready requests (`SlotShares`).
    4. Step: let the generator advance the running batch; sleep if there is nothing to do.
    5. Settle: tell how the requests ended.
    6. If a step fails, fail all requests with `EngineDied`, take no more, and free the model.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        preparer: Preparer | None = None,
        max_waiting: int = _MAX_WAITING,
        reserved: float = 0.0,
    ) -> None:
        self._generator = generator
        self._max_waiting = max_waiting
        self._shares = SlotShares(generator.slots, reserved_places(generator.slots, reserved))
        self._changed = threading.Condition()
        self._waiting: dict[str, QueuedRequest] = {}
        self._running: dict[str, QueuedRequest] = {}
        self._preparing: Preparing | None = None
        if preparer is not None:
            self._preparing = Preparing(preparer, self._changed, self._waiting, self._refuse)
        self._branched: dict[str, BranchedRequest] = {}
        self._steps = 0
        self._end_reason: str | None = None
        self._thread = threading.Thread(target=self._run, name="engine-batch", daemon=True)
        self._thread.start()

    # --- for callers, from any thread ---

    def submit(self, prompt: Prompt, on_text: TakeText | None = None) -> Future[Completion]:
        """See `Engine.submit`. An id that is in flight already is an `InvalidJob`."""
        if prompt.branches:
            return self._submit_branches(prompt)
        return self._queue(prompt, on_text, bounded=True)

    def submit_all(self, prompts: Sequence[Prompt], on_end: TakeEnd) -> None:
        """See `Engine.submit_all`: they are queued together."""
        super().submit_all([prompt for prompt in prompts if prompt.branches], on_end)
        plain = [prompt for prompt in prompts if not prompt.branches]
        requests = [QueuedRequest(each, on_end=partial(on_end, each.id)) for each in plain]
        self._queue_all(requests, bounded=True)

    def cancel(self, prompt_id: str) -> None:
        """See `Engine.cancel`."""
        if branched := self._branched.get(prompt_id):
            branched.cancel()
        with self._changed:
            request = self._waiting.pop(prompt_id, None)
            if request is None and (running := self._running.get(prompt_id)):
                running.end_early("cancelled")
        if request is not None:
            self._finish(request, request.unstarted())

    def steps(self) -> int:
        """See `Engine.steps`."""
        return self._steps

    def close(self) -> None:
        """See `Engine.close`."""
        self._end("the engine was closed")
        if self._preparing is not None:
            self._preparing.close()
        self._thread.join(_CLOSE_S)
        self._fail_all()

    def _queue(
        self, prompt: Prompt, on_text: TakeText | None = None, *, bounded: bool
    ) -> Future[Completion]:
        """Put a prompt into the queue; `bounded` refuses it if the queue is full."""
        future: Future[Completion] = Future()
        future.set_running_or_notify_cancel()
        self._queue_all([QueuedRequest(prompt, on_text, into(future))], bounded=bounded)
        return future

    def _queue_all(self, requests: Sequence[QueuedRequest], *, bounded: bool) -> None:
        """Put requests into the queue; one that is refused ends at once."""
        refused: list[tuple[QueuedRequest, ForebayError]] = []
        with self._changed:
            for request in requests:
                refusal = self._refusal(request.prompt, bounded=bounded)
                if refusal is None:
                    self._shares.note(request)
                    self._wait(request)
                else:
                    refused.append((request, refusal))
            self._changed.notify()  # even if none is ready: the loop watches their deadlines
        for request, refusal in refused:
            request.on_end(refusal)

    def _submit_branches(self, prompt: Prompt) -> Future[Completion]:
        width = self._generator.branches_at_once
        branched = BranchedRequest(prompt, width, self._queue, self.cancel)
        with self._changed:
            refusal = self._refusal(prompt, bounded=True)
            if refusal is None:
                self._branched[prompt.id] = branched
        if refusal is not None:
            branched.future.set_exception(refusal)
        else:
            branched.future.add_done_callback(lambda _: self._branched.pop(prompt.id))
            branched.start()
        return branched.future

    def _refusal(self, prompt: Prompt, *, bounded: bool) -> ForebayError | None:
        if self._end_reason is not None:
            return EngineDied(self._end_reason)
        prompt_id = prompt.id
        if prompt_id in self._waiting or prompt_id in self._running or prompt_id in self._branched:
            return InvalidJob("a request of this id is in flight", field="id")
        if bounded and len(self._waiting) >= self._max_waiting:
            return EngineBusy(f"{self._max_waiting} requests wait already")
        return None

    # --- for subclasses ---

    def _count_step(self) -> None:
        """Count progress outside the batch, as in `embed`."""
        with self._changed:
            self._steps += 1

    # --- the queue ---

    def _wait(self, request: QueuedRequest) -> None:
        """Put the request among those that wait, under the lock; have it prepared if need be."""
        self._waiting[request.prompt.id] = request
        if self._preparing is None:
            request.stage = "ready"
        else:
            self._preparing.begin()

    def _refuse(self, request: QueuedRequest, error: ForebayError) -> None:
        """End a request that cannot be prepared, if it still waits."""
        with self._changed:
            if self._waiting.get(request.prompt.id) is not request:
                return
            del self._waiting[request.prompt.id]
        self._finish(request, error)

    def _finish(self, request: QueuedRequest, end: End) -> None:
        """Tell how a request ended that was queued."""
        if self._preparing is not None:
            self._preparing.forget(request)
        request.on_end(end)

    # --- the loop ---

    def _run(self) -> None:
        self._guard(self._loop)
        self._fail_all()
        self._guard(self._generator.close)

    def _loop(self) -> None:
        while self._await_work():
            self._admit()
            self._settle(self._generator.step() if self._running else Step(moved=False))

    def _guard(self, work: Callable[[], None]) -> None:
        """Do a part of the thread's work; if it breaks, take no more requests."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever broke, nobody may wait for ever
            where = error_location(error)  # no message, no traceback: they may hold content
            log.error("the engine broke: %s", where, extra=event(Event.ENGINE_BROKE))  # noqa: TRY400
            self._end(f"the engine broke ({type(error).__name__})")

    def _await_work(self) -> bool:
        """Sleep until there is something to do; return False when the loop must end."""
        with self._changed:
            while not (self._end_reason or self._running or self._ready()):
                if not self._changed.wait(_TICK_S if self._waiting else None):
                    break  # for the deadlines of requests that are being prepared
            return self._end_reason is None

    def _admit(self) -> None:
        """Cut short what is cancelled or overdue, then fill the free slots, the best rank first."""
        self._end_cut_and_overdue()
        with self._changed:
            order = self._shares.admissions(self._ready(), self._running.values())
        while (request := self._take_next(order)) is not None:
            request.began = time.monotonic()
            try:
                self._generator.admit(request.prompt)
            except ForebayError as error:
                self._settle(Step(moved=True, ended={request.prompt.id: error}))

    def _settle(self, step: Step) -> None:
        """Count the step, and tell the ends of the requests that ended in it."""
        for prompt_id, text in step.texts.items():
            if request := self._running.get(prompt_id):
                request.hand_out(text, step.tokens.get(prompt_id, ()))
        with self._changed:
            self._steps += step.moved
            ended = [
                (request, answer)
                for prompt_id, answer in step.ended.items()
                if (request := self._running.pop(prompt_id, None))
                if not self._waits_again(request, answer)
            ]
        for request, answer in ended:
            self._finish(request, request.ended(answer))

    def _waits_again(self, request: QueuedRequest, answer: Completion | ForebayError) -> bool:
        """Put a request back among those that wait if it ended because it yielded its slot."""
        cancelled = isinstance(answer, Completion) and answer.finish == "cancelled"
        if not cancelled or request.cut != "yields" or self._end_reason is not None:
            return False
        request.cut, request.stage, request.yields = None, "fresh", request.yields + 1
        self._wait(request)
        return True

    def _end_cut_and_overdue(self) -> None:
        """End the waiting requests that are overdue; cut short what is overdue or cancelled."""
        now = time.time()
        with self._changed:
            late = [request for request in self._waiting.values() if request.overdue(now)]
            for request in late:
                del self._waiting[request.prompt.id]
            for request in (*late, *self._running.values()):
                if request.overdue(now):
                    request.end_early("deadline")
            cut = [prompt_id for prompt_id, request in self._running.items() if request.cut]
        for prompt_id in cut:
            self._generator.drop(prompt_id)
        for request in late:
            self._finish(request, request.unstarted())

    def _take_next(self, order: Iterator[QueuedRequest]) -> QueuedRequest | None:
        """Move the best waiting request to the running ones, or have another make room for it."""
        with self._changed:
            waiting, running = self._waiting, self._running
            request = next((it for it in order if waiting.get(it.prompt.id) is it), None)
            # The best waits for room rather than let smaller requests overtake it for ever.
            if request and (not running or self._generator.fits(request.prompt)):
                running[request.prompt.id] = waiting.pop(request.prompt.id)
                return request
            if yielding := self._shares.yielding(self._ready(), running.values()):
                yielding.cut = "yields"
                self._generator.drop(yielding.prompt.id)
            return None

    def _ready(self) -> list[QueuedRequest]:
        return [request for request in self._waiting.values() if request.stage == "ready"]

    # --- the end ---

    def _end(self, reason: str) -> None:
        with self._changed:
            self._end_reason = self._end_reason or reason
            self._changed.notify()

    def _fail_all(self) -> None:
        with self._changed:
            requests = [*self._waiting.values(), *self._running.values()]
            self._waiting.clear()
            self._running.clear()
        for request in requests:
            self._finish(request, EngineDied(self._end_reason or "the engine ended"))
