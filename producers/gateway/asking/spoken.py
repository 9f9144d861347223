"""What a client has heard of an answer, and what it can still be told without taking words back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from forebay.routing.receipts import TokenLogprob
from forebay.routing.store.text_stream import Piece


class Part(NamedTuple):
    """Some text of the answer, and its tokens if their probabilities were asked for.

    Without text it is a sign of life.
    """

    text: str = ""
    tokens: Sequence[TokenLogprob] = ()


@dataclass(slots=True)
class _Heard:
    """What one attempt has said so far."""

    text: str = ""
    tokens: list[TokenLogprob] = field(default_factory=list)


class Spoken:
    """The text that was sent so far, and the attempts that may go on with it.

    A job may be tried again, and the final answer may be another one: from the other lane, or from
    a second opinion. Text goes out only as long as it continues what was sent, and so do tokens.

    Attributes:
        text: what was sent.
        tokens: the tokens that were sent.
    """

    def __init__(self, trimmed: Callable[[str], str] = str.strip) -> None:
        """Take what removes the white space that no answer has at its ends."""
        self.text = ""
        self.tokens: list[TokenLogprob] = []
        self._attempts: dict[str, _Heard] = {}
        self._speaker: _Heard | None = None
        self._trimmed = trimmed

    def hear(self, piece: Piece) -> Part:
        """Return what of a piece can be sent now; white space waits for what follows it."""
        heard = self._attempts.setdefault(piece.attempt, _Heard())
        heard.text += piece.text
        heard.tokens += piece.tokens
        text = self._trimmed(heard.text)
        goes_on = heard is self._speaker or self._continues(text, heard.tokens)
        if len(text) <= len(self.text) or not goes_on:
            return Part()
        self._speaker = heard
        return self._send(text, heard.tokens)

    def end(self, answer: str, tokens: Sequence[TokenLogprob] = ()) -> Part | None:
        """Return what is left of the final answer; `None` if other words were sent before."""
        return self._send(answer, tokens) if self._continues(answer, tokens) else None

    def _continues(self, text: str, tokens: Sequence[TokenLogprob]) -> bool:
        """Return whether a text and its tokens begin with those that were sent."""
        begun = [one.token for one in tokens[: len(self.tokens)]]
        return text.startswith(self.text) and begun == [one.token for one in self.tokens]

    def _send(self, text: str, tokens: Sequence[TokenLogprob]) -> Part:
        part = Part(text[len(self.text) :], tokens[len(self.tokens) :])
        self.text = text
        self.tokens += part.tokens
        return part
