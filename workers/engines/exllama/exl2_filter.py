"""A filter of exllamav2 that sees the logits of a job before a token is sampled from them.

exllamav2 samples on the CPU and shows each row of logits to filters. That is where a constraint
narrows them, and the cheapest place to learn how likely the chosen token was. The library's own
probabilities do not say that: they are those after temperature and top-k, 1 at temperature 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from forebay.workers.engines.tokens.masks import Bits, Matcher, allowed


class LogitsFilter:
    """A mixin for `ExLlamaV2Filter`: `type("Mixed", (LogitsFilter, ExLlamaV2Filter), {})`.

    The generator calls it from its own thread and, between its steps, from its pools; never twice
    at once. No method raises: an error would break the whole batch.

    Attributes:
        logprobs: of the tokens chosen since the last `take_logprobs`.
    """

    def __init__(self, model: Any, tokenizer: Any, matcher: Matcher | None, width: int) -> None:
        super().__init__(model, tokenizer)  # type: ignore[call-arg]  # the other base of the mixture
        self.logprobs: list[float] = []
        self._matcher = matcher
        self._width = width
        self._bits: Bits | None = None
        self._row: Any = None
        self._log_total = 0.0

    def begin(self, prefix_str: str) -> None:
        """Do nothing: the matcher stands at the beginning of the text already."""

    def use_background_worker(self) -> bool:
        """Make the mask while the GPU works, if there is one to make."""
        return self._matcher is not None

    def can_mask_logits(self) -> bool:
        """Return True: listing the allowed tokens, the other way, takes long."""
        return True

    def prepare_logit_mask(self) -> bool:
        """Make the mask for the next token."""
        if self._matcher is not None:
            self._bits = self._matcher.mask()
        return True

    def mask_logits(self, logits: Any) -> Any:
        """Remember a row of logits, and narrow it in place, in the CPU's memory."""
        row = np.asarray(logits)
        known = row[: self._width]
        top = known.max()
        self._row, self._log_total = row, float(top + np.log(np.exp(known - top).sum()))
        if self._bits is not None:
            row[~allowed(self._bits, len(row))] = -np.inf
        return logits

    def feed(self, token: Any) -> None:
        """Record the chosen token; the row still holds the logits that it was chosen from."""
        chosen = int(token.item())
        self.logprobs.append(float(self._row[chosen]) - self._log_total)
        if self._matcher is not None:
            self._matcher.take(chosen)

    def take_logprobs(self) -> tuple[float, ...]:
        """Return the log-probabilities since the last call, and forget them."""
        taken, self.logprobs = tuple(self.logprobs), []
        return taken
