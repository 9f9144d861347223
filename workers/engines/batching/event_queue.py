"""A queue from the threads on which sequences run to the loop's thread, which takes steps."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence

from forebay.routing.errors import ForebayError
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.batching.generator import Step, TextPart
from forebay.workers.engines.engine import Completion

_TICK_S = 0.01  # how long a step waits for an event, and so delays a new request

#: The text of a chunk, or how a sequence ended.
Event = TextPart | Completion | BaseException


class EventQueue:
    """Holds what happens to the sequences of a library or server that batches them by itself."""

    def __init__(self, *breaking: type[ForebayError]) -> None:
        """Break the engine at errors of these types, as at any that is no `ForebayError`."""
        self._breaking = breaking
        self._events: queue.SimpleQueue[tuple[str, Event]] = queue.SimpleQueue()

    def put(self, prompt_id: str, event: Event) -> None:
        """Add an event, from any thread; an empty text shows progress."""
        self._events.put((prompt_id, event))

    def step(self) -> Step:
        """Wait a moment for an event, and return all events that there are as one step.

        Raises:
            BaseException: An error that breaks the engine.
        """
        moved = False
        ended: dict[str, Completion | ForebayError] = {}
        texts: dict[str, str] = {}
        tokens: dict[str, Sequence[TokenLogprob]] = {}
        for prompt_id, event in self._taken():
            moved = True
            if isinstance(event, TextPart):
                texts[prompt_id] = texts.get(prompt_id, "") + event.text
                tokens[prompt_id] = [*tokens.get(prompt_id, ()), *event.tokens]
            else:
                ended[prompt_id] = self._end(event)
        return Step(moved, ended, texts, tokens)

    def _taken(self) -> Iterator[tuple[str, Event]]:
        try:
            yield self._events.get(timeout=_TICK_S)
            while True:
                yield self._events.get_nowait()
        except queue.Empty:
            return

    def _end(self, event: Completion | BaseException) -> Completion | ForebayError:
        """Return how a sequence ended, or raise what breaks the engine."""
        if isinstance(event, Completion):
            return event
        if isinstance(event, ForebayError) and not isinstance(event, self._breaking):
            return event
        raise event
