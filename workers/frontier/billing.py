"""Whether a failed call to Bedrock costs money: what its error says about the bill."""

from __future__ import annotations

from typing import Literal

from forebay.routing.errors import BadAnswer, ForebayError, LastingError, ModelRefused, Unavailable
from forebay.routing.limits.prices import Usage

Billed = Literal["no", "yes", "unknown"]


class OutcomeUnknown(Unavailable):
    """Nobody can say whether the call was answered and billed: its money stays reserved."""

    billed: Billed = "unknown"


class Wasted(LastingError):
    """Bedrock answered, and bills `usage`, but there is no good answer in it."""

    billed: Billed = "yes"

    def __init__(self, message: str, usage: Usage) -> None:
        super().__init__(message)
        self.usage = usage


class Refused(Wasted, ModelRefused):
    """The model, or a guardrail, declined."""


class Malformed(Wasted, BadAnswer):
    """The model broke off with what is no text."""


def billed(error: Exception) -> Billed:
    """Whether the call that ended with this error costs money; a `Wasted` has its `usage`.

    Bedrock bills answers: a call that it answered with an error, or that never reached it, is free.
    """
    if isinstance(error, OutcomeUnknown | Wasted):
        return error.billed
    return "no" if isinstance(error, ForebayError) else "unknown"
