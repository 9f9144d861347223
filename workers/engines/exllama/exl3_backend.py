"""The generator of exllamav3 as a `Backend`. The library's types stop here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.workers.engines.exllama.backend import (
    TOP_K,
    BackendProgress,
    BackendRequest,
    DynamicBackend,
    log_softmax,
    progress_of,
)
from forebay.workers.engines.tokens.masks import Bits, Matcher


class LogitsFilter:
    """A mixin for exllamav3's `Filter` that narrows the candidates of one job.

    Args:
        tokenizer: the library's own.
        matcher: at the beginning of a text.
        tensor: turns an array into a tensor.
    """

    def __init__(self, tokenizer: Any, matcher: Matcher, tensor: Callable[[Bits], Any]) -> None:
        # No trigger token, no prefix, and the text ends once the filter is complete.
        super().__init__(tokenizer, None, None, True)  # type: ignore[call-arg]  # the other base
        self._matcher = matcher
        self._tensor = tensor

    def reset(self) -> None:
        """Do nothing: a new matcher stands at the beginning of the text already."""

    def accept_token(self, token: int) -> None:
        """Record the chosen token."""
        self._matcher.take(token)

    def get_next_logit_mask(self) -> Any:
        """Return the mask, one bit for each token, as a tensor of shape (1, words)."""
        return self._tensor(self._matcher.mask().reshape(1, -1))

    def is_completed(self) -> bool:
        """Return whether no more tokens may follow."""
        return self._matcher.complete or self._matcher.failed


@dataclass(frozen=True)
class Exl3Parts:
    """The parts of exllamav3 that make up a job.

    Attributes:
        job: `Job`.
        sampler: `ComboSampler`.
        logits_filter: `LogitsFilter`, mixed with `Filter`.
        tensor: turns token ids into a tensor of 64-bit integers of shape (1, n), on the CPU.
        mask_tensor: turns a mask into a tensor.
        array: turns a tensor on any device into an array of single precision.
    """

    job: Callable[..., Any]
    sampler: Callable[..., Any]
    logits_filter: Callable[..., Any]
    tensor: Callable[[list[list[int]]], Any]
    mask_tensor: Callable[[Bits], Any]
    array: Callable[[Any], npt.NDArray[np.float32]]


class Exl3Backend(DynamicBackend):
    """A `Backend` over exllamav3's `Generator`.

    Args:
        generator: without a draft model.
        parts: from the same library.
    """

    spare = 1  # the library reserves the place of one token beyond the limit

    def __init__(self, generator: Any, parts: Exl3Parts) -> None:
        super().__init__(generator, generator.pagetable.max_pages)
        self.parts = parts

    def free_pages(self) -> int:
        """See `Backend.free_pages`."""
        return len(self.generator.pagetable.unreferenced_pages)

    def _job(self, request: BackendRequest) -> Any:
        greedy = request.temperature <= 0 or request.first_token_only
        temperature = 0.0 if greedy else request.temperature
        return self.parts.job(
            input_ids=self.parts.tensor([request.tokens]),
            max_new_tokens=request.max_tokens,
            sampler=self.parts.sampler(temperature=temperature, top_k=TOP_K, top_p=request.top_p),
            seed=request.seed,
            stop_conditions=[*request.stop_tokens, *request.stop_strings],
            return_logits=request.first_token_only,
            # Before temperature and top-k, unlike exllamav2's.
            return_probs=not request.first_token_only,
            filters=[] if request.matcher is None else [self._logits_filter(request.matcher)],
            identifier=request.id,
        )

    def _logits_filter(self, matcher: Matcher) -> Any:
        tokenizer = self.generator.tokenizer
        return self.parts.logits_filter(tokenizer, matcher, self.parts.mask_tensor)

    def _progress(self, job: Any, result: dict[str, Any]) -> BackendProgress:
        del job
        logits = result.get("logits")
        if logits is not None:
            distribution = log_softmax(self.parts.array(logits), self._width)
            return progress_of(result, distribution=distribution)
        return progress_of(result, self._logprobs(result) + self._logprobs(result.get("held", {})))

    def _logprobs(self, part: dict[str, Any]) -> tuple[float, ...]:
        if "token_probs" not in part:
            return ()
        probabilities = self.parts.array(part["token_probs"]).reshape(-1)
        smallest = np.finfo(np.float32).tiny
        return tuple(np.log(np.maximum(probabilities, smallest)).tolist())
