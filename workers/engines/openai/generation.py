"""One answer of a server, collected chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forebay.routing.errors import Unavailable
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.batching.generator import TextPart
from forebay.workers.engines.engine import Completion, Finish
from forebay.workers.engines.openai.option_scores import ScoredToken
from forebay.workers.engines.quantiles import low_quantile

_MIN_LOGPROB = -9_999.0  # of a token that only a constraint allowed; JSON knows no infinity
_FINISHES: Mapping[str | None, Finish] = {"stop": "stop", "length": "length"}


@dataclass
class Generation:
    """An answer so far.

    Attributes:
        others: the most probable tokens to name at each place; `None` if no token is wanted.
        text: the pieces of text.
        tokens: the tokens as the server scores them; empty if it does not.
        chunks: chunks that held text, which stand for the tokens if the server scores none.
        model: the model that the server names.
        reason: why the server ended the text, if it did.
        stopped_by: the stop string, or the id of the token, that ended it, if the server tells.
        usage: the server's count of tokens, which comes with the last chunk.
        first: when the first text came.
    """

    others: int | None = None
    text: list[str] = field(default_factory=list, repr=False)
    tokens: list[dict[str, Any]] = field(default_factory=list, repr=False)
    chunks: int = 0
    model: str | None = None
    reason: str | None = None
    stopped_by: str | int | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    first: float | None = None

    def take(self, chunk: dict[str, Any]) -> TextPart:
        """Take a chunk; return its text and, if they are wanted, its tokens.

        Raises:
            Unavailable: The chunk is not as the API has it.
        """
        try:
            return self._take(chunk)
        except (KeyError, TypeError, AttributeError):
            raise Unavailable("the server sent a chunk of another form") from None

    def _take(self, chunk: dict[str, Any]) -> TextPart:
        before = len(self.tokens)
        self.model = chunk.get("model") or self.model
        self.usage = chunk.get("usage") or self.usage
        pieces = []
        for choice in chunk.get("choices", ()):  # at most one: nobody asks for alternatives
            pieces.append(choice["delta"].get("content") or "")
            self.reason = choice.get("finish_reason") or self.reason
            self.stopped_by = choice.get("stop_reason") or self.stopped_by
            self.tokens += (choice.get("logprobs") or {}).get("content") or ()
        text = "".join(pieces)
        if text:
            self.first = self.first or time.monotonic()
            self.chunks += 1
            self.text.append(text)
        return TextPart(text, () if self.others is None else self._token_logprobs(before))

    @property
    def logprobs(self) -> list[float]:
        """The natural-log probability of each token."""
        return [max(_MIN_LOGPROB, float(token["logprob"])) for token in self.tokens]

    def scored(self) -> list[ScoredToken]:
        """Return the tokens with their alternatives, as bytes."""
        return [
            ScoredToken(_bytes(token), float(token["logprob"]), _alternatives(token))
            for token in self.tokens
        ]

    def completion(self, prompt_id: str) -> Completion:
        """Return the text so far; it counts as `cancelled` if the server did not end it."""
        ended = time.monotonic()
        first = self.first or ended
        details = self.usage.get("prompt_tokens_details") or {}
        return Completion(
            id=prompt_id,
            text="".join(self.text),
            tokens_in=int(self.usage.get("prompt_tokens") or 0),
            tokens_cached=int(details.get("cached_tokens") or 0),
            tokens_out=int(self.usage.get("completion_tokens") or len(self.tokens) or self.chunks),
            finish=_FINISHES.get(self.reason, "cancelled"),
            stop_sequence=self.stopped_by if isinstance(self.stopped_by, str) else None,
            low_logprob=low_quantile(self.logprobs),
            token_logprobs=None if self.others is None else self._token_logprobs(),
            prefill_s=first - self.begun,
            decode_s=ended - first,
        )

    def _token_logprobs(self, since: int = 0) -> tuple[TokenLogprob, ...]:
        """Return the tokens from this one on, with as many alternatives as are wanted."""
        return tuple(
            TokenLogprob(
                token=token["token"],
                logprob=logprob,
                top=_top(token.get("top_logprobs") or (), self.others or 0),
            )
            for token, logprob in zip(self.tokens[since:], self.logprobs[since:], strict=True)
        )


def _top(tokens: Sequence[Mapping[str, Any]], count: int) -> tuple[tuple[str, float], ...]:
    return tuple((one["token"], max(_MIN_LOGPROB, one["logprob"])) for one in tokens[:count])


def _alternatives(token: Mapping[str, Any]) -> list[tuple[bytes, float]]:
    return [(_bytes(one), float(one["logprob"])) for one in token.get("top_logprobs") or ()]


def _bytes(token: Mapping[str, Any]) -> bytes:
    """Return the bytes of a token: some are no whole characters."""
    return bytes(token["bytes"]) if token.get("bytes") else str(token["token"]).encode()
