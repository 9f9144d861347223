"""One prompt in the running batch: its requests to the backend, and the text they come to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from forebay.routing.errors import ForebayError
from forebay.workers.engines.engine import Completion, Prompt
from forebay.workers.engines.exllama.backend import BackendProgress, BackendRequest
from forebay.workers.engines.quantiles import low_quantile
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.tokens.option_trie import OptionTrie

_INCOMPLETE = "\ufffd"  # stands for a character whose bytes have not all arrived


class Run(Protocol):
    """One prompt in the batch.

    Attributes:
        prompt: as it was submitted.
        request: the largest request that the prompt may need; it is admitted by this size.
    """

    prompt: Prompt
    request: BackendRequest

    def start(self) -> BackendRequest | Completion:
        """Return the first request, or the completion if the backend is not needed."""

    def advance(
        self, progress: BackendProgress
    ) -> BackendRequest | Completion | ForebayError | None:
        """Return the next request, the end of the run, or `None` while the request goes on."""

    def cut_short(self) -> Completion:
        """Return what there is so far, because the prompt was cancelled."""


@dataclass
class TextRun:
    """A prompt for text: one request.

    `restored` makes special tokens whole that the text copied from the prompt.
    """

    prompt: Prompt
    request: BackendRequest
    decode: Callable[[list[int]], str]
    restored: Callable[[str], str] = str
    text: list[str] = field(default_factory=list, repr=False)
    tokens: int = 0
    logprobs: list[float] = field(default_factory=list, repr=False)
    started_at: float = field(default_factory=time.monotonic)
    first_token_at: float | None = None

    def start(self) -> BackendRequest:
        """See `Run.start`."""
        self.started_at = time.monotonic()
        return self.request

    def advance(
        self, progress: BackendProgress
    ) -> BackendRequest | Completion | ForebayError | None:
        """See `Run.advance`."""
        if progress.stage != "streaming":
            return None
        self.first_token_at = self.first_token_at or time.monotonic()
        self.tokens += len(progress.tokens)
        self.logprobs += progress.logprobs
        if progress.finish is None:
            self.text.append(progress.text)
            return None
        self.text.append(self._last_text(progress))
        return self._end(progress)

    def cut_short(self) -> Completion:
        """See `Run.cut_short`."""
        now = time.monotonic()
        first = self.first_token_at or now
        return Completion(
            id=self.prompt.id,
            text="".join(self.text),
            tokens_in=len(self.request.tokens),
            tokens_out=self.tokens,
            finish="cancelled",
            prefill_s=first - self.started_at,
            decode_s=now - first,
            **self._probabilities(),
        )

    def _last_text(self, progress: BackendProgress) -> str:
        """Return the last text without half a character; tokens are decoded together for that."""
        text = progress.text
        if _INCOMPLETE in text and progress.tokens:
            text = self.decode(list(progress.tokens))
        return text.rstrip(_INCOMPLETE)

    def _end(self, progress: BackendProgress) -> Completion | ForebayError:
        matcher, constraint = self.request.matcher, self.prompt.constraint
        if matcher is not None and constraint is not None and matcher.failed:
            return grammars.too_large(constraint)
        complete = matcher is not None and matcher.complete
        return Completion(
            id=self.prompt.id,
            text=self.restored("".join(self.text)),
            tokens_in=len(self.request.tokens),
            tokens_cached=min(progress.tokens_cached, len(self.request.tokens)),
            tokens_out=progress.tokens_out,
            finish="stop" if complete or progress.finish is None else progress.finish,
            stop_sequence=progress.stop_sequence,
            prefill_s=progress.prefill_s,
            decode_s=progress.decode_s,
            **self._probabilities(),
        )

    def _probabilities(self) -> dict[str, float | None]:
        return {"low_logprob": low_quantile(self.logprobs)}


@dataclass
class ScoreRun:
    """A prompt for the scores of options: a request for each place where their tokens part."""

    prompt: Prompt
    request: BackendRequest
    tree: OptionTrie
    lengths: dict[str, int] = field(repr=False)
    prefill_s: float = 0.0
    decode_s: float = 0.0

    def start(self) -> BackendRequest | Completion:
        """See `Run.start`."""
        place = self.tree.place
        if place is None:
            return self._end()
        return replace(self.request, tokens=[*self.request.tokens, *place], max_tokens=1)

    def advance(
        self, progress: BackendProgress
    ) -> BackendRequest | Completion | ForebayError | None:
        """See `Run.advance`."""
        if progress.finish is None:
            return None
        assert progress.distribution is not None
        self.prefill_s += progress.prefill_s
        self.decode_s += progress.decode_s
        self.tree.tell(progress.distribution)
        return self.start()

    def cut_short(self) -> Completion:
        """See `Run.cut_short`."""
        return self._completion("").model_copy(update={"finish": "cancelled"})

    def _end(self) -> Completion:
        scores = self.tree.scores()
        best = max(scores, key=scores.__getitem__)
        return self._completion(best).model_copy(update={"option_logprobs": scores})

    def _completion(self, text: str) -> Completion:
        return Completion(
            id=self.prompt.id,
            text=text,
            tokens_in=len(self.request.tokens),
            tokens_out=self.lengths.get(text, 0),
            finish="stop",
            prefill_s=self.prefill_s,
            decode_s=self.decode_s,
        )
