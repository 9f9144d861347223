"""What a client has heard of an answer, and what it can still be told without taking words back."""

from __future__ import annotations

from forebay.routing.store.text_stream import Piece


class Spoken:
    """The text that was sent so far, and the attempts that may go on with it.

    A job may be tried again, and the final answer may be another one: from the other lane, or from
    a second opinion. Text goes out only as long as it continues what was sent.

    Attributes:
        text: what was sent.
    """

    def __init__(self) -> None:
        self.text = ""
        self._attempts: dict[str, str] = {}

    def hear(self, piece: Piece) -> str:
        """Return what of a piece can be sent now; white space waits for what follows it."""
        heard = self._attempts.get(piece.attempt, "") + piece.text
        self._attempts[piece.attempt] = heard
        return self._send(heard.strip())

    def end(self, answer: str) -> str | None:
        """Return what is left of the final answer; `None` if other words were sent before."""
        return self._send(answer) if answer.startswith(self.text) else None

    def _send(self, text: str) -> str:
        if len(text) <= len(self.text) or not text.startswith(self.text):
            return ""
        new = text[len(self.text) :]
        self.text = text
        return new
