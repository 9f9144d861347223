"""What the two exllama libraries have in common, in our words: orders in, news out.

Their dynamic generators are made alike: jobs are enqueued with all the pages of the cache that they
may ever need, and each `iterate` moves all of them on and returns a list of results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from forebay.workers.engines.engine import Ending
from forebay.workers.engines.tokens.masks import Matcher
from forebay.workers.engines.vram.footprint import PAGE

TOP_K = 100  # candidates when sampling; without a limit the CPU sorts the whole vocabulary

Logprobs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BackendRequest:
    """One generation, as a library is asked for it.

    Attributes:
        id: comes back with all news of it.
        tokens: the prompt.
        limit: tokens to generate at most.
        ends: ids that end the text.
        stops: strings that end the text.
        matcher: narrows the candidates.
        ask: generate nothing to speak of, and say how likely each first token is.
    """

    id: str
    tokens: list[int] = field(repr=False)
    limit: int
    ends: tuple[int, ...] = ()
    stops: tuple[str, ...] = field(default=(), repr=False)
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    matcher: Matcher | None = None
    ask: bool = False

    def pages(self, spare: int) -> int:
        """Pages of the cache that it may need; `spare` tokens are the library's own."""
        return -(-(len(self.tokens) + self.limit + spare) // PAGE)


@dataclass(frozen=True)
class BackendProgress:
    """What one step brought for one order.

    Attributes:
        id: of the order.
        stage: `started` its pages are its own, `prefill` its prompt is being read, `streaming`
            there are tokens.
        text: what can be said of it by now; may end in half a character.
        tokens: the ids that `text` is made of.
        logprobs: of each of these tokens, before anything narrowed the candidates.
        over: how it ended, if it did.
        tokens_out: all that were generated; with `over`.
        distribution: log-probabilities of all first tokens, for an order that asks.
        prefill_s, decode_s: seconds on the prompt and on the text; with `over`.
    """

    id: str
    stage: str
    text: str = field(default="", repr=False)
    tokens: tuple[int, ...] = field(default=(), repr=False)
    logprobs: tuple[float, ...] = field(default=(), repr=False)
    over: Ending | None = None
    tokens_out: int = 0
    distribution: Logprobs | None = field(default=None, repr=False)
    prefill_s: float = 0.0
    decode_s: float = 0.0


class Backend(Protocol):
    """A library's generator. Used by one thread only.

    Attributes:
        slots: orders at once.
        pages: of the whole cache.
        spare: tokens of the cache that every order needs beside its own.
    """

    slots: int
    pages: int
    spare: int

    def free_pages(self) -> int:
        """Pages that no started order holds."""

    def start(self, order: BackendRequest) -> None:
        """Enqueue it; it must fit into the cache."""

    def cancel(self, order_id: str) -> None:
        """Give its pages back; there is no more news of it."""

    def iterate(self) -> list[BackendProgress]:
        """One step of all orders. After an error nothing here can be used any more."""

    def close(self) -> None:
        """Give everything back."""


class DynamicBackend(ABC):
    """A `Backend` over either dynamic generator; `_job`, `_news` and `free_pages` are its own.

    Args:
        generator: warmed up, without a draft model.
        pages: of its cache.

    Attributes:
        generator: as given; measurements drive it themselves while no order is in it.
    """

    spare = 0

    def __init__(self, generator: Any, pages: int) -> None:
        self.slots: int = generator.max_batch_size
        self.pages = pages
        self.generator = generator
        self._width: int = generator.tokenizer.actual_vocab_size
        self._jobs: dict[str, Any] = {}

    @abstractmethod
    def free_pages(self) -> int:
        """See `Backend.free_pages`."""

    @abstractmethod
    def _job(self, order: BackendRequest) -> Any:
        """The library's job for an order."""

    @abstractmethod
    def _news(self, job: Any, result: dict[str, Any]) -> BackendProgress:
        """A result of a job in our words."""

    def start(self, order: BackendRequest) -> None:
        """See `Backend.start`."""
        job = self._jobs[order.id] = self._job(order)
        self.generator.enqueue(job)

    def cancel(self, order_id: str) -> None:
        """See `Backend.cancel`."""
        self.generator.cancel(self._jobs.pop(order_id))

    def iterate(self) -> list[BackendProgress]:
        """See `Backend.iterate`."""
        return [self._told(result) for result in self.generator.iterate()]

    def close(self) -> None:
        """See `Backend.close`; the memory goes back when the process ends."""
        self.generator.clear_queue()
        self._jobs.clear()

    def _told(self, result: dict[str, Any]) -> BackendProgress:
        if result["stage"] == "error":
            raise result["error"]
        job = self._jobs[result["identifier"]]
        if result["eos"]:
            del self._jobs[result["identifier"]]
        return self._news(job, result)


def progress_of(
    result: dict[str, Any],
    logprobs: tuple[float, ...] = (),
    distribution: Logprobs | None = None,
) -> BackendProgress:
    """A result of either library, whose keys are the same."""
    text, tokens = str(result.get("text", "")), _ids(result)
    if not result["eos"]:
        return BackendProgress(result["identifier"], result["stage"], text, tokens, logprobs)
    held = result.get("held", {})
    if result["eos_reason"] == "stop_token":
        # What was held back for a stop string that might have come is in `held` only.
        text += str(held.get("text", "")).removesuffix(result["eos_triggering_token_str"])
        tokens += _ids(held)[:-1]
    elif result["eos_reason"] == "stop_string":
        tokens = ()  # the stop string is among them
    return BackendProgress(
        result["identifier"],
        result["stage"],
        text,
        tokens,
        logprobs,
        over="length" if result["eos_reason"] == "max_new_tokens" else "stop",
        tokens_out=result["new_tokens"],
        distribution=distribution,
        prefill_s=result["time_prefill"],
        decode_s=result["time_generate"],
    )


def log_softmax(logits: Any, width: int) -> Logprobs:
    """Log-probabilities of the first `width` tokens; what is beyond pads the model's head."""
    flat = np.asarray(logits, dtype=np.float32).reshape(-1)[:width]
    top = flat.max()
    known: Logprobs = flat - top - np.log(np.exp(flat - top).sum())
    return known


def _ids(part: dict[str, Any]) -> tuple[int, ...]:
    ids = part.get("token_ids")
    return () if ids is None else tuple(ids.reshape(-1).tolist())
