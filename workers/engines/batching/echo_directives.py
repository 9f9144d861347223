"""Directives in a prompt for the echo engine: to be slow, wrong or broken."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields

from forebay.routing.errors import InvalidJob

_OPENING = "[[echo:"
_DIRECTIVE = re.compile(r"\[\[echo:\s*(\w+)\s*(?:=(.*?))?\]\]", re.DOTALL)


@dataclass(frozen=True)
class Directives:
    """The directives in the last user message: `[[echo: name]]` or `[[echo: name=value]]`.

    Attributes:
        delay: seconds for each word, instead of the engine's own delay.
        say: answer exactly this text, even if a constraint forbids it: a model that is wrong.
        warm: answer this text if the temperature is above 0: a model that is unsure.
        confidence: the probability of the answer.
        noise: write to standard output meanwhile, as some libraries do.
        hang: stop in the step, so that no sequence advances any more.
        crash: end the process at once; use it only in an engine's own process.
        fail: raise an error in the step, as a broken library does.
    """

    delay: float | None = None
    say: str | None = field(default=None, repr=False)
    warm: str | None = field(default=None, repr=False)
    confidence: float = 0.9
    noise: bool = False
    hang: bool = False
    crash: bool = False
    fail: bool = False

    @classmethod
    def of(cls, text: str) -> Directives:
        """Read the directives in a text.

        Raises:
            InvalidJob: A directive is unknown, or its value is not a number.
        """
        if _OPENING not in text:
            return _NONE
        given = {name: value.strip() for name, value in _DIRECTIVE.findall(text)}
        if not given.keys() <= {directive.name for directive in fields(cls)}:
            raise InvalidJob("holds an unknown echo directive", field="messages")
        try:
            return cls(
                delay=float(given["delay"]) if "delay" in given else None,
                say=given.get("say"),
                warm=given.get("warm"),
                confidence=min(max(float(given.get("confidence", "0.9")), 1e-6), 1 - 1e-6),
                **{name: name in given for name in ("noise", "hang", "crash", "fail")},
            )
        except ValueError:
            raise InvalidJob("holds an echo directive without a number", field="messages") from None

    def answer(self, temperature: float) -> str | None:
        """Return the text that the directives ask for at this temperature, if any."""
        return self.warm if temperature > 0 and self.warm is not None else self.say


_NONE = Directives()


def without_directives(text: str) -> str:
    """Return the text with its directives removed."""
    return _DIRECTIVE.sub("", text) if _OPENING in text else text
