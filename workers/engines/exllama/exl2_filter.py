"""Looks at the logits of one exllamav2 job before a token is sampled from them.

exllamav2 samples on the CPU and offers filters a look at each row of logits. That is where a
constraint narrows them, and the cheapest place to learn how likely the chosen token was: the
library's own probabilities are those after temperature and cuts, which at temperature 0 say 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from forebay.workers.engines.tokens.masks import Bits, Matcher, allowed


class LogitsFilter:
    """To be mixed with `ExLlamaV2Filter`: `type("Watched", (Watch, ExLlamaV2Filter), {})`.

    It is called from the generator's thread and, between its steps, from its pools; never twice at
    once. Nothing here raises: an error would break the whole batch.

    Attributes:
        logprobs: of the tokens chosen since they were last taken away.
    """

    def __init__(self, model: Any, tokenizer: Any, matcher: Matcher | None, width: int) -> None:
        super().__init__(model, tokenizer)  # type: ignore[call-arg]  # the other half of the mixture
        self.logprobs: list[float] = []
        self._matcher = matcher
        self._width = width
        self._bits: Bits | None = None
        self._row: Any = None
        self._total = 0.0

    def begin(self, prefix_str: str) -> None:
        """Before the first token."""

    def use_background_worker(self) -> bool:
        """The mask is made while the GPU works."""
        return self._matcher is not None

    def can_mask_logits(self) -> bool:
        """Rather than list the tokens that may come, which takes long."""
        return True

    def prepare_logit_mask(self) -> bool:
        """Make the mask for the next token."""
        if self._matcher is not None:
            self._bits = self._matcher.mask()
        return True

    def mask_logits(self, logits: Any) -> Any:
        """Look at a row, and narrow it; in place, in memory of the CPU."""
        row = np.asarray(logits)
        known = row[: self._width]
        top = known.max()
        self._row, self._total = row, float(top + np.log(np.exp(known - top).sum()))
        if self._bits is not None:
            row[~allowed(self._bits, len(row))] = -np.inf
        return logits

    def feed(self, token: Any) -> None:
        """The token that was chosen; the row still holds what it was chosen from."""
        chosen = int(token.item())
        self.logprobs.append(float(self._row[chosen]) - self._total)
        if self._matcher is not None:
            self._matcher.take(chosen)

    def taken(self) -> tuple[float, ...]:
        """The log-probabilities since the last time."""
        taken, self.logprobs = tuple(self.logprobs), []
        return taken
