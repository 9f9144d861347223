"""Shortens a text that is longer than a model's context: map and reduce.

Each part of the text is summarized by itself, the summaries are joined, and if they are still too
long, summarized again. The question is then put to what is left. That is sound for a summary and
for a label, which depend on a text as a whole. Facts to extract would be lost on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forebay.routing.errors import TooLong
from forebay.routing.jobs import Classify, Job, Summarize
from forebay.workers.long_texts.cutting import cut

MIN_PART_CHARS = 400  # a model whose context is smaller cannot work in parts
MIN_WORDS = 30  # of the summary of a part
WORDS_PER_CHARS = 60  # one word of summary for so many characters of a part
MAX_LEVELS = 6  # how often summaries are summarized again
MAX_FOCUS_CHARS = 500
SEPARATOR = "\n\n"  # between the summaries of two parts

#: Kinds that are answered in parts.
LongRequest = Summarize | Classify

#: Returns the summaries of parts, in order. It also gets the room of a prompt, in characters.
SummarizeParts = Callable[[Sequence[Summarize], int], list[str]]


class Condenser:
    """Shortens the text of one job for one model.

    Attributes:
        parts: into how many parts the text was cut.
    """

    def __init__(
        self,
        job: Job,
        error: TooLong,
        summarize: SummarizeParts,
        *,
        max_parts: int,
        max_words: int,
    ) -> None:
        """Prepare for a job.

        Args:
            job: the job.
            error: what is raised if its text cannot be shortened.
            summarize: summarizes parts; raises `TooLong` if a part does not fit a prompt.
            max_parts: into how many parts a text may be cut.
            max_words: the most words of the summary of a part.
        """
        self.parts = 0
        self._error = error
        self._summarize = summarize
        self._max_parts = max_parts
        self._max_words = max_words
        self._focus = _focus(job)

    def condensed(self, text: str, room: int) -> str:
        """Return the summaries of the text's parts, short enough for one prompt.

        Args:
            text: the text.
            room: how many characters of text a prompt has room for, as far as is known.

        Raises:
            TooLong: The text would have too many parts, or the model does not shorten it.
        """
        room = max(MIN_PART_CHARS, room)
        for _ in range(MAX_LEVELS):
            pieces, summaries, room = self._summarized(text, room)
            self.parts = self.parts or len(pieces)
            shorter = SEPARATOR.join(summaries)
            if len(shorter) <= room:
                return shorter
            if len(shorter) >= len(text):  # this model does not shorten
                break
            text = shorter
        raise self._error

    def _summarized(self, text: str, room: int) -> tuple[list[str], list[str], int]:
        """Return the parts of a text, their summaries, and the room that a prompt really has.

        Raises:
            TooLong: There would be too many parts.
        """
        while room >= MIN_PART_CHARS:
            pieces = cut(text, room)
            if len(pieces) > self._max_parts:
                raise TooLong(
                    f"{self._error.message}; it would take {len(pieces)} parts, and the policy "
                    f"allows {self._max_parts} (max_parts)",
                    field=self._error.field,
                )
            try:
                return pieces, self._summarize(self._requests(pieces, room), room), room
            except TooLong:  # more tokens than were estimated
                room //= 2
        raise self._error

    def _requests(self, pieces: list[str], room: int) -> list[Summarize]:
        words = max(MIN_WORDS, min(self._max_words, room // WORDS_PER_CHARS))
        return [Summarize(text=piece, max_words=words, focus=self._focus) for piece in pieces]


def _focus(job: Job) -> str:
    """Return what the summaries of the parts are to dwell on."""
    request = job.request
    if isinstance(request, Classify):
        names = ", ".join(label.name for label in request.options)
        return f"what helps to choose one of: {names}"[:MAX_FOCUS_CHARS]
    return request.focus if isinstance(request, Summarize) else ""
