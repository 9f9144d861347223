"""The contract between the loop of `batching.py` and what makes tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from forebay.routing.errors import ForebayError
from forebay.workers.engines.engine import Completion, Prompt


@dataclass(frozen=True)
class Step:
    """What one step brought.

    Attributes:
        moved: something was done; only such steps count as progress for the watchdog.
        ended: by id, the completion of a sequence, or the error that ended it. A dropped sequence
            ends here too, with `finish="cancelled"` and what there was until then.
    """

    moved: bool
    ended: Mapping[str, Completion | ForebayError] = field(default_factory=dict)


class Generator(Protocol):
    """What makes tokens, one step at a time. Called by the loop's thread only."""

    @property
    def slots(self) -> int:
        """Sequences it works on at once."""

    def fits(self, prompt: Prompt) -> bool:
        """Is there room for it beside what runs now? Not asked when nothing runs."""

    def admit(self, prompt: Prompt) -> None:
        """Take it into the batch.

        Raises:
            InvalidJob: It can never be answered here; `TooLong` among them.
        """

    def step(self) -> Step:
        """Move every sequence on, within a fraction of a second. An error here is the end."""

    def drop(self, prompt_id: str) -> None:
        """Cut it short; one of the next steps hands over what there is."""

    def close(self) -> None:
        """Give everything back."""


class Ahead(Protocol):
    """What can be done for a request before it is admitted. Called by several threads."""

    def prepare(self, prompt: Prompt) -> None:
        """Do it, however long it takes.

        Raises:
            InvalidJob: It can never be answered here; `TooLong` among them.
        """

    def forget(self, prompt: Prompt) -> None:
        """The request has ended, and what was done for it is not needed; perhaps nothing was."""
