"""The seam between the paged engine and the two exllama libraries: requests in, progress out.

The dynamic generators of both libraries work alike: a job is enqueued with all the pages of the
cache that it may ever need (paged attention), and each `iterate` moves every job on and returns a
list of results.
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
    """One generation by a library.

    Attributes:
        id: returned with all progress of the request.
        tokens: the prompt.
        max_tokens: tokens to generate at most.
        stop_tokens: ids that end the text.
        stop_strings: strings that end the text.
        temperature: 0 takes the most likely token.
        top_p: share of the probability that is sampled from.
        seed: makes sampling repeatable.
        matcher: narrows the candidates for each token (grammar-constrained decoding).
        first_token_only: return the log-probabilities of all first tokens, not a text.
    """

    id: str
    tokens: list[int] = field(repr=False)
    max_tokens: int
    stop_tokens: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = field(default=(), repr=False)
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    matcher: Matcher | None = None
    first_token_only: bool = False

    def pages(self, spare: int) -> int:
        """Return the pages of the cache that the request may need.

        Args:
            spare: tokens of the cache that the library sets aside for each request.
        """
        return -(-(len(self.tokens) + self.max_tokens + spare) // PAGE)


@dataclass(frozen=True)
class BackendProgress:
    """The result of one step of the library for one request.

    Attributes:
        id: of the request.
        stage: `started` (it holds its pages), `prefill` (its prompt is being read) or `streaming`
            (it generates tokens).
        text: new text; it may end in half a character.
        tokens: the ids of the new text.
        logprobs: log-probability of each of these tokens, before the candidates were narrowed.
        finish: why the request ended; `None` while it runs.
        stop_sequence: the stop string that ended it, if one did.
        tokens_cached: tokens of the prompt that were in the cache; set with `finish`.
        tokens_out: all tokens that were generated; set with `finish`.
        distribution: log-probabilities of all first tokens, for a request that wants them.
        prefill_s: seconds spent on the prompt; set with `finish`.
        decode_s: seconds spent on the text; set with `finish`.
    """

    id: str
    stage: str
    text: str = field(default="", repr=False)
    tokens: tuple[int, ...] = field(default=(), repr=False)
    logprobs: tuple[float, ...] = field(default=(), repr=False)
    finish: Ending | None = None
    stop_sequence: str | None = field(default=None, repr=False)
    tokens_cached: int = 0
    tokens_out: int = 0
    distribution: Logprobs | None = field(default=None, repr=False)
    prefill_s: float = 0.0
    decode_s: float = 0.0


class Backend(Protocol):
    """The generator of a library. Only one thread uses it.

    Attributes:
        slots: requests that run at once.
        pages: pages of the whole cache.
        spare: tokens of the cache that each request needs beyond its own.
    """

    slots: int
    pages: int
    spare: int

    def free_pages(self) -> int:
        """Return the pages that no started request holds."""

    def start(self, request: BackendRequest) -> None:
        """Enqueue a request, which must fit into the cache."""

    def cancel(self, request_id: str) -> None:
        """Release the pages of a request; there is no more progress of it."""

    def iterate(self) -> list[BackendProgress]:
        """Move all requests on by one step. After an error the backend cannot be used any more."""

    def close(self) -> None:
        """Release everything."""


class DynamicBackend(ABC):
    """A `Backend` over either library's dynamic generator.

    A subclass adds what differs: `_job`, `_progress` and `free_pages`.

    Args:
        generator: warmed up, without a draft model.
        pages: number of pages of its cache.

    Attributes:
        generator: as given; benchmarks drive it themselves while it has no request.
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
    def _job(self, request: BackendRequest) -> Any:
        """Make the library's job for a request."""

    @abstractmethod
    def _progress(self, job: Any, result: dict[str, Any]) -> BackendProgress:
        """Translate a result of a job."""

    def start(self, request: BackendRequest) -> None:
        """See `Backend.start`."""
        job = self._jobs[request.id] = self._job(request)
        self.generator.enqueue(job)

    def cancel(self, request_id: str) -> None:
        """See `Backend.cancel`."""
        self.generator.cancel(self._jobs.pop(request_id))

    def iterate(self) -> list[BackendProgress]:
        """See `Backend.iterate`."""
        return [self._translate(result) for result in self.generator.iterate()]

    def close(self) -> None:
        """See `Backend.close`; the memory is released when the process ends."""
        self.generator.clear_queue()
        self._jobs.clear()

    def _translate(self, result: dict[str, Any]) -> BackendProgress:
        if result["stage"] == "error":
            raise result["error"]
        job = self._jobs[result["identifier"]]
        if result["eos"]:
            del self._jobs[result["identifier"]]
        return self._progress(job, result)


def progress_of(
    result: dict[str, Any],
    logprobs: tuple[float, ...] = (),
    distribution: Logprobs | None = None,
) -> BackendProgress:
    """Translate a result of either library: both use the same keys."""
    text, tokens = str(result.get("text", "")), _token_ids(result)
    if not result["eos"]:
        return BackendProgress(result["identifier"], result["stage"], text, tokens, logprobs)
    held = result.get("held", {})
    if result["eos_reason"] == "stop_token":
        # Text that was held back because a stop string might follow is in `held` alone.
        text += str(held.get("text", "")).removesuffix(result["eos_triggering_token_str"])
        tokens += _token_ids(held)[:-1]
    elif result["eos_reason"] == "stop_string":
        tokens = ()  # they include the stop string
    return BackendProgress(
        result["identifier"],
        result["stage"],
        text,
        tokens,
        logprobs,
        finish="length" if result["eos_reason"] == "max_new_tokens" else "stop",
        stop_sequence=result.get("eos_triggering_string"),
        tokens_cached=result["cached_tokens"],
        tokens_out=result["new_tokens"],
        distribution=distribution,
        prefill_s=result["time_prefill"],
        decode_s=result["time_generate"],
    )


def log_softmax(logits: Any, width: int) -> Logprobs:
    """Return the log-probabilities of the first `width` tokens; the rest pads the model's head."""
    flat = np.asarray(logits, dtype=np.float32).reshape(-1)[:width]
    top = flat.max()
    logprobs: Logprobs = flat - top - np.log(np.exp(flat - top).sum())
    return logprobs


def _token_ids(part: dict[str, Any]) -> tuple[int, ...]:
    ids = part.get("token_ids")
    return () if ids is None else tuple(ids.reshape(-1).tolist())
