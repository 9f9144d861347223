"""exllamav3's generator, in our words. What comes from the library stops here."""

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
    """Narrows the candidates of one job: to be mixed with exllamav3's `Filter`.

    Args:
        tokenizer: the library's own.
        matcher: at the beginning of a text.
        tensor: an array as a tensor.
    """

    def __init__(self, tokenizer: Any, matcher: Matcher, tensor: Callable[[Bits], Any]) -> None:
        # No token switches it on, nothing is given, and the text ends where it is complete.
        super().__init__(tokenizer, None, None, True)  # type: ignore[call-arg]  # the mixture's
        self._matcher = matcher
        self._tensor = tensor

    def reset(self) -> None:
        """To the beginning, where a new matcher stands."""

    def accept_token(self, token: int) -> None:
        """The token that was chosen."""
        self._matcher.take(token)

    def get_next_logit_mask(self) -> Any:
        """One bit a token, as a tensor of shape (1, words)."""
        return self._tensor(self._matcher.mask().reshape(1, -1))

    def is_completed(self) -> bool:
        """Nothing more may come."""
        return self._matcher.complete or self._matcher.failed


@dataclass(frozen=True)
class Exl3Parts:
    """What of exllamav3 a job is made of.

    Attributes:
        job: `Job`.
        sampler: `ComboSampler`.
        gate: `LogitsFilter`, mixed with `Filter`.
        tensor: token ids as a tensor of 64-bit integers, of shape (1, n), in the CPU's memory.
        masked: a mask as a tensor.
        array: a tensor, wherever it is, as an array of single precision.
    """

    job: Callable[..., Any]
    sampler: Callable[..., Any]
    gate: Callable[..., Any]
    tensor: Callable[[list[list[int]]], Any]
    masked: Callable[[Bits], Any]
    array: Callable[[Any], npt.NDArray[np.float32]]


class Exl3Backend(DynamicBackend):
    """A `Library` over exllamav3's `Generator`.

    Args:
        generator: without a draft model.
        parts: of the same library.
    """

    spare = 1  # it reserves the place of one token beyond the limit

    def __init__(self, generator: Any, parts: Exl3Parts) -> None:
        super().__init__(generator, generator.pagetable.max_pages)
        self.parts = parts

    def free_pages(self) -> int:
        """See `Library.free_pages`."""
        return len(self.generator.pagetable.unreferenced_pages)

    def _job(self, order: BackendRequest) -> Any:
        greedy = order.temperature <= 0 or order.ask
        return self.parts.job(
            input_ids=self.parts.tensor([order.tokens]),
            max_new_tokens=order.limit,
            sampler=self.parts.sampler(
                temperature=0.0 if greedy else order.temperature, top_k=TOP_K, top_p=order.top_p
            ),
            seed=order.seed,
            stop_conditions=[*order.ends, *order.stops],
            return_logits=order.ask,
            return_probs=not order.ask,  # before temperature and cuts, unlike exllamav2's
            filters=[] if order.matcher is None else [self._gate(order.matcher)],
            identifier=order.id,
        )

    def _gate(self, matcher: Matcher) -> Any:
        return self.parts.gate(self.generator.tokenizer, matcher, self.parts.masked)

    def _news(self, job: Any, result: dict[str, Any]) -> BackendProgress:
        del job
        logits = result.get("logits")
        if logits is not None:
            said = log_softmax(self.parts.array(logits), self._width)
            return progress_of(result, distribution=said)
        return progress_of(result, self._logprobs(result) + self._logprobs(result.get("held", {})))

    def _logprobs(self, part: dict[str, Any]) -> tuple[float, ...]:
        if "token_probs" not in part:
            return ()
        probabilities = self.parts.array(part["token_probs"]).reshape(-1)
        smallest = np.finfo(np.float32).tiny
        return tuple(np.log(np.maximum(probabilities, smallest)).tolist())
