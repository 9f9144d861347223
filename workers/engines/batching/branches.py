"""A prompt with branches: each branch is a prompt of its own, and all end as one completion."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Protocol, get_args

from forebay.workers.engines.engine import Choice, Completion, Ending, Prompt, Turn


class Submit(Protocol):
    """Queues the prompt of one branch."""

    def __call__(self, prompt: Prompt, *, bounded: bool) -> Future[Completion]:
        """Return the future; `bounded` refuses the prompt if the queue is full."""


class BranchedRequest:
    """Runs the branches of one prompt in the batch.

    1. The first branch runs alone: it reads the messages, which an engine that keeps what it has
       read need not read again.
    2. Then as many others run at once as fit; each branch that ends lets the next begin.
    3. The future ends once nothing runs any more: with the scores of all branches, with the first
       error, or with what a branch that was cut short ended with.

    Args:
        prompt: as it was submitted.
        width: branches that run at once.
        submit: queues the prompt of one branch.
        cancel: ends the prompt of one branch soon.
    """

    def __init__(
        self, prompt: Prompt, width: int, submit: Submit, cancel: Callable[[str], None]
    ) -> None:
        self.future: Future[Completion] = Future()
        self.future.set_running_or_notify_cancel()
        self._prompt = prompt
        self._width = width
        self._submit = submit
        self._cancel_branch = cancel
        self._lock = threading.Lock()
        self._begun = 0
        self._running: set[int] = set()
        self._scored: dict[int, Completion] = {}
        self._end: Completion | BaseException | None = None
        self._cut = False  # begin no more branches

    def start(self) -> None:
        """Begin the first branch."""
        with self._lock:
            numbers = self._take(1)
        self._begin(numbers)

    def cancel(self) -> None:
        """End the branches that run, and begin no more."""
        with self._lock:
            self._cut = True
            running = sorted(self._running)
        for number in running:
            self._cancel_branch(self._id(number))

    def _take(self, room: int) -> list[int]:
        """Return the branches to begin now; they count as running. The caller holds the lock."""
        if self._cut:
            return []
        first = self._begun
        self._begun = min(first + room, len(self._prompt.branches))
        taken = list(range(first, self._begun))
        self._running.update(taken)
        return taken

    def _begin(self, numbers: list[int]) -> None:
        for number in numbers:
            future = self._submit(self._prompt_of(number), bounded=number == 0)
            future.add_done_callback(partial(self._ended, number))
            if self._cut:  # it was cancelled before it was there
                self._cancel_branch(self._id(number))

    def _ended(self, number: int, future: Future[Completion]) -> None:
        """Note how a branch ended; begin others, or end the whole."""
        result = future.exception() or future.result()
        with self._lock:
            room = 1 if self._scored else self._width
            if isinstance(result, Completion) and result.finish in get_args(Ending):
                self._scored[number] = result
            else:
                self._end, self._cut = self._end or result, True
            # What is taken counts as running, so that nothing ends too early.
            numbers = self._take(room)
            self._running.discard(number)
            over, failed = not self._running, self._end is not None
        self._begin(numbers)
        if over:
            self._resolve()
        elif failed:
            self.cancel()

    def _resolve(self) -> None:
        if isinstance(self._end, BaseException):
            self.future.set_exception(self._end)
        elif self._end is not None:
            self.future.set_result(
                self._end.model_copy(update={"id": self._prompt.id, "option_logprobs": None})
            )
        else:
            self.future.set_result(self._whole())

    def _whole(self) -> Completion:
        """Return the scores of all branches. Tokens that the branches share count in each.

        If no branch began because the prompt was cancelled in between, it says so.
        """
        parts = [completion for _, completion in sorted(self._scored.items())]
        complete = len(parts) == len(self._prompt.branches)
        scores = tuple(part.option_logprobs or {} for part in parts)
        scores = tuple(part.option_logprobs or {} for part in parts)
        return Completion(
            id=self._prompt.id,
            text="",
            tokens_in=sum(part.tokens_in for part in parts),
            tokens_out=sum(part.tokens_out for part in parts),
            finish="stop" if complete else "cancelled",
            branch_logprobs=scores if complete else None,
            queued_s=parts[0].queued_s,
            prefill_s=sum(part.prefill_s for part in parts),
            decode_s=sum(part.decode_s for part in parts),
        )

    def _prompt_of(self, number: int) -> Prompt:
        branch = self._prompt.branches[number]
        *before, last = self._prompt.messages
        turn = Turn(role=last.role, content=last.content + branch.text)
        return self._prompt.model_copy(
            update={
                "id": self._id(number),
                "messages": (*before, turn),
                "constraint": Choice(options=branch.options),
                "score_options": True,
                "branches": (),
            }
        )

    def _id(self, number: int) -> str:
        return f"{self._prompt.id}#{number}"
