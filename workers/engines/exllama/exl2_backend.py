"""exllamav2's dynamic generator, in our words. What comes from the library stops here."""

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
    """What of exllamav2 a job is made of.

    Attributes:
        job: `ExLlamaV2DynamicJob`.
        settings: `ExLlamaV2Sampler.Settings`.
        watch: `Watch`, mixed with `ExLlamaV2Filter`.
        tensor: token ids as a tensor of 64-bit integers, of shape (1, n), in the CPU's memory.
    """

    job: Callable[..., Any]
    settings: Callable[..., Any]
    watch: Callable[..., Any]
    tensor: Callable[[list[list[int]]], Any]


class Exl2Backend(DynamicBackend):
    """A `Library` over `ExLlamaV2DynamicGenerator`.

    Args:
        generator: warmed up, without a draft model.
        parts: of the same library.
    """

    def __init__(self, generator: Any, parts: Exl2Parts) -> None:
        super().__init__(generator, generator.max_pages)
        self.parts = parts

    def free_pages(self) -> int:
        """See `Library.free_pages`; kept prefixes that nobody uses are free."""
        return len(self.generator.unreferenced_pages)

    def _job(self, order: BackendRequest) -> Any:
        return self.parts.job(
            input_ids=self.parts.tensor([order.tokens]),
            max_new_tokens=order.limit,
            gen_settings=self._settings(order),
            seed=order.seed,
            stop_conditions=[*order.ends, *order.stops],
            return_logits=order.ask,
            filters=[] if order.ask else [self._watch(order)],
            identifier=order.id,
        )

    def _watch(self, order: BackendRequest) -> Any:
        model, tokenizer = self.generator.model, self.generator.tokenizer
        return self.parts.watch(model, tokenizer, order.matcher, self._width)

    def _settings(self, order: BackendRequest) -> Any:
        """All that is not off by itself is said: the library's defaults penalize repetition."""
        if order.temperature <= 0 or order.ask:
            how = {"temperature": 1.0, "top_k": 1, "top_p": 0.0}
        else:
            how = {"temperature": order.temperature, "top_k": TOP_K, "top_p": order.top_p}
        return self.parts.settings(token_repetition_penalty=1.0, **how)

    def _news(self, job: Any, result: dict[str, Any]) -> BackendProgress:
        if result["stage"] != "streaming":  # the same step may bring the first token behind it
            return progress_of(result)
        if job.filters:
            return progress_of(result, job.filters[0].taken())
        logits = result.get("logits")
        said = None if logits is None else log_softmax(logits, self._width)
        return progress_of(result, distribution=said)
