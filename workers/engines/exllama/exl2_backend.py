"""The dynamic generator of exllamav2 as a `Backend`. The library's types stop here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forebay.workers.engines.exllama.backend import (
    TOP_K,
    BackendProgress,
    BackendRequest,
    DynamicBackend,
    log_softmax,
    progress_of,
)


@dataclass(frozen=True)
class Exl2Parts:
    """The parts of exllamav2 that make up a job.

    Attributes:
        job: `ExLlamaV2DynamicJob`.
        settings: `ExLlamaV2Sampler.Settings`.
        logits_filter: `LogitsFilter`, mixed with `ExLlamaV2Filter`.
        tensor: turns token ids into a tensor of 64-bit integers of shape (1, n), on the CPU.
    """

    job: Callable[..., Any]
    settings: Callable[..., Any]
    logits_filter: Callable[..., Any]
    tensor: Callable[[list[list[int]]], Any]


class Exl2Backend(DynamicBackend):
    """A `Backend` over `ExLlamaV2DynamicGenerator`.

    Args:
        generator: warmed up, without a draft model.
        parts: from the same library.
    """

    def __init__(self, generator: Any, parts: Exl2Parts) -> None:
        super().__init__(generator, generator.max_pages)
        self.parts = parts

    def free_pages(self) -> int:
        """See `Backend.free_pages`; cached prefixes that no request uses count as free."""
        return len(self.generator.unreferenced_pages)

    def _job(self, request: BackendRequest) -> Any:
        return self.parts.job(
            input_ids=self.parts.tensor([request.tokens]),
            max_new_tokens=request.max_tokens,
            gen_settings=self._settings(request),
            seed=request.seed,
            stop_conditions=[*request.stop_tokens, *request.stop_strings],
            return_logits=request.first_token_only,
            filters=[] if request.first_token_only else [self._logits_filter(request)],
            identifier=request.id,
        )

    def _logits_filter(self, request: BackendRequest) -> Any:
        model, tokenizer = self.generator.model, self.generator.tokenizer
        return self.parts.logits_filter(model, tokenizer, request.matcher, self._width)

    def _settings(self, request: BackendRequest) -> Any:
        """Set everything that the library's defaults would change: they penalize repetition."""
        if request.temperature <= 0 or request.first_token_only:
            sampling = {"temperature": 1.0, "top_k": 1, "top_p": 0.0}
        else:
            sampling = {
                "temperature": request.temperature, "top_k": TOP_K, "top_p": request.top_p,
            }  # fmt: skip
        return self.parts.settings(token_repetition_penalty=1.0, **sampling)

    def _progress(self, job: Any, result: dict[str, Any]) -> BackendProgress:
        if result["stage"] != "streaming":
            # The filter may hold the first token already; it belongs to a later result.
            return progress_of(result)
        if job.filters:
            return progress_of(result, job.filters[0].take_logprobs())
        logits = result.get("logits")
        distribution = None if logits is None else log_softmax(logits, self._width)
        return progress_of(result, distribution=distribution)
