"""The contract between the step loop (`loop.py`) and a generator, which makes the tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from forebay.routing.errors import ForebayError
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.engine import Completion, Prompt


@dataclass(frozen=True)
class Step:
    """The result of one step.

    Attributes:
        moved: the step did some work. Only such steps count as progress for the watchdog.
        ended: the sequences that ended, by prompt id: a completion, or the error that ended the
            sequence. A dropped sequence ends here too, with `finish="cancelled"` and the text so
            far.
        texts: the new text of the prompts with `stream`, by prompt id.
        tokens: the new tokens of those of them that ask for probabilities, by prompt id.
    """

    moved: bool
    ended: Mapping[str, Completion | ForebayError] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokens: Mapping[str, Sequence[TokenLogprob]] = field(default_factory=dict, repr=False)


class TextPart(NamedTuple):
    """Some text of an answer while it is generated, and its tokens if their probabilities count."""

    text: str
    tokens: Sequence[TokenLogprob] = ()


class Generator(Protocol):
    """Generates tokens for a batch of sequences, one step at a time.

    Only the loop's thread calls a generator.
    """

    @property
    def slots(self) -> int:
        """The sequences that the generator works on at once."""

    @property
    def branches_at_once(self) -> int:
        """The branches of one prompt that may run at once and still share what was read."""

    def fits(self, prompt: Prompt) -> bool:
        """Return whether the prompt fits beside the running sequences.

        The loop does not ask if nothing runs.
        """

    def admit(self, prompt: Prompt) -> None:
        """Add the prompt to the batch.

        Raises:
            InvalidJob: This engine can never answer the prompt; `TooLong` is such an error.
        """

    def step(self) -> Step:
        """Advance every sequence, within a fraction of a second.

        Any exception means that the engine is broken.
        """

    def drop(self, prompt_id: str) -> None:
        """Cut a sequence short; one of the next steps returns the text so far."""

    def close(self) -> None:
        """Free the model and all other resources."""


class Preparer(Protocol):
    """Does work for a request before it is admitted. Several threads call a preparer."""

    def prepare(self, prompt: Prompt) -> None:
        """Prepare the prompt, however long that takes.

        Raises:
            InvalidJob: This engine can never answer the prompt; `TooLong` is such an error.
        """

    def forget(self, prompt: Prompt) -> None:
        """Discard what was prepared for a prompt that has ended, if anything."""
