"""A request in the running batch: what it asks of the library, and what it makes of the news."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from forebay.routing.errors import ForebayError, InvalidJob
from forebay.workers.engines.engine import Completion, Prompt, low_quantile
from forebay.workers.engines.exllama.backend import BackendProgress, BackendRequest
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.tokens.option_trie import OptionTrie

_HALF = "\ufffd"  # stands for a character whose bytes have not all come


class Run(Protocol):
    """One request.

    Attributes:
        prompt: as it was asked.
        order: the largest that it may need, by which it is admitted.
    """

    prompt: Prompt
    order: BackendRequest

    def begin(self) -> BackendRequest | Completion:
        """The first order; or the end, where the library need not be asked."""

    def take(self, news: BackendProgress) -> BackendRequest | Completion | ForebayError | None:
        """The next order, or how it ended, or nothing yet."""

    def cut(self) -> Completion:
        """What there is, of a request that is dropped."""


@dataclass
class TextRun:
    """A request for text: one order."""

    prompt: Prompt
    order: BackendRequest
    decode: Callable[[list[int]], str]
    text: list[str] = field(default_factory=list, repr=False)
    tokens: int = 0
    logprobs: list[float] = field(default_factory=list, repr=False)
    begun: float = field(default_factory=time.monotonic)
    first: float | None = None

    def begin(self) -> BackendRequest:
        """See `Run.begin`."""
        self.begun = time.monotonic()
        return self.order

    def take(self, news: BackendProgress) -> BackendRequest | Completion | ForebayError | None:
        """See `Run.take`."""
        if news.stage != "streaming":
            return None
        self.first = self.first or time.monotonic()
        self.tokens += len(news.tokens)
        self.logprobs += news.logprobs
        if news.over is None:
            self.text.append(news.text)
            return None
        self.text.append(self._whole(news))
        return self._end(news)

    def cut(self) -> Completion:
        """See `Run.cut`."""
        now = time.monotonic()
        first = self.first or now
        return Completion(
            id=self.prompt.id,
            text="".join(self.text),
            tokens_in=len(self.order.tokens),
            tokens_out=self.tokens,
            finish="cancelled",
            prefill_s=first - self.begun,
            decode_s=now - first,
            **self._probabilities(),
        )

    def _whole(self, news: BackendProgress) -> str:
        """The last of the text. Tokens that were held one by one may be a character together."""
        text = news.text
        if _HALF in text and news.tokens:
            text = self.decode(list(news.tokens))
        return text.rstrip(_HALF)

    def _end(self, news: BackendProgress) -> Completion | ForebayError:
        matcher, constraint = self.order.matcher, self.prompt.constraint
        if matcher is not None and constraint is not None and matcher.failed:
            name = grammars.field_of(constraint)
            return InvalidJob("is more than this engine can hold an answer to", field=name)
        complete = matcher is not None and matcher.complete
        return Completion(
            id=self.prompt.id,
            text="".join(self.text),
            tokens_in=len(self.order.tokens),
            tokens_out=news.tokens_out,
            finish="stop" if complete or news.over is None else news.over,
            prefill_s=news.prefill_s,
            decode_s=news.decode_s,
            **self._probabilities(),
        )

    def _probabilities(self) -> dict[str, float | None]:
        return {"low_logprob": low_quantile(self.logprobs)}


@dataclass
class ScoreRun:
    """A request for the scores of options: an order for every place where their tokens part."""

    prompt: Prompt
    order: BackendRequest
    tree: OptionTrie
    lengths: dict[str, int] = field(repr=False)
    prefill_s: float = 0.0
    decode_s: float = 0.0

    def begin(self) -> BackendRequest | Completion:
        """See `Run.begin`."""
        place = self.tree.place
        if place is None:
            return self._end()
        return replace(self.order, tokens=[*self.order.tokens, *place], limit=1)

    def take(self, news: BackendProgress) -> BackendRequest | Completion | ForebayError | None:
        """See `Run.take`."""
        if news.over is None:
            return None
        assert news.distribution is not None
        self.prefill_s += news.prefill_s
        self.decode_s += news.decode_s
        self.tree.tell(news.distribution)
        return self.begin()

    def cut(self) -> Completion:
        """See `Run.cut`."""
        return self._completion("").model_copy(update={"finish": "cancelled"})

    def _end(self) -> Completion:
        scores = self.tree.scores()
        best = max(scores, key=scores.__getitem__)
        return self._completion(best).model_copy(update={"option_logprobs": scores})

    def _completion(self, text: str) -> Completion:
        return Completion(
            id=self.prompt.id,
            text=text,
            tokens_in=len(self.order.tokens),
            tokens_out=self.lengths.get(text, 0),
            finish="stop",
            prefill_s=self.prefill_s,
            decode_s=self.decode_s,
        )
