"""The messages between a worker and its engine's process: one JSON object a line, no pickle.

The worker sends `Command` messages (`Start`, `Submit`, `SubmitAlike`, `Cancel`, `Embed`). The
engine's process sends `Reply` messages (`Ready`, `Text`, `Completed`, `Embedded`, `Failed`,
`Beat`). A `key` names a request across the pipe: the worker makes it, and the reply to the request
carries it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import Field, TypeAdapter

from forebay.routing.errors import ForebayError, PassingError, from_code
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.engine import (
    CachePages,
    Completion,
    EngineInfo,
    Frame,
    Prompt,
    Vectors,
)

#: Read at once from a pipe, which holds as much.
READ_BYTES = 1 << 16


class Start(Frame):
    """Message to the engine's process, always the first: open an engine with these settings.

    The reply is `Ready`, or `Failed` with an empty key.

    Attributes:
        settings: the fields of `EngineSettings`, a key in plain text among them.
        beat_s: seconds between two `Beat` messages.
    """

    op: Literal["start"] = "start"
    settings: dict[str, Any] = Field(repr=False)
    beat_s: float


class Submit(Frame):
    """Message to the engine's process: submit a prompt. The reply is `Completed` or `Failed`."""

    op: Literal["submit"] = "submit"
    key: str
    prompt: Prompt


class SubmitAlike(Frame):
    """Message to the engine's process: submit prompts of which little differs, as rows of a bulk.

    Each is replied to like a `Submit`.

    Attributes:
        prompt: a prompt that is like the others.
        contents: what the last turn of each prompt holds, by the prompt's id.
        keys: the requests' keys, in the same order.
    """

    op: Literal["submit_alike"] = "submit_alike"
    prompt: Prompt
    contents: dict[str, str] = Field(repr=False)
    keys: tuple[str, ...]


class Cancel(Frame):
    """Message to the engine's process: cancel a prompt.

    There is no reply to this message; the prompt's own `Submit` is answered soon.
    """

    op: Literal["cancel"] = "cancel"
    prompt_id: str


class Embed(Frame):
    """Message to the engine's process: embed texts. The reply is `Embedded` or `Failed`."""

    op: Literal["embed"] = "embed"
    key: str
    texts: tuple[str, ...] = Field(repr=False)


class Ready(Frame):
    """Message to the worker: the engine is open and takes work."""

    op: Literal["ready"] = "ready"
    info: EngineInfo


class Text(Frame):
    """Message to the worker: new text, and its tokens, of a `Submit` whose prompt has `stream`."""

    op: Literal["text"] = "text"
    key: str
    text: str = Field(repr=False)
    tokens: tuple[TokenLogprob, ...] = Field((), repr=False)


class Completed(Frame):
    """Message to the worker: completions that it asked for, by the keys of their requests."""

    op: Literal["completed"] = "completed"
    completions: dict[str, Completion]


class Embedded(Frame):
    """Message to the worker: the vectors that an `Embed` asked for."""

    op: Literal["embedded"] = "embedded"
    key: str
    vectors: Vectors


class Failed(Frame):
    """Message to the worker: the error that a request ended with.

    With an empty key, the engine itself could not be opened.
    """

    op: Literal["failed"] = "failed"
    key: str
    code: str
    message: str
    field: str | None
    retry_after: float | None

    @classmethod
    def of(cls, key: str, error: ForebayError) -> Failed:
        """Return the message that carries this error."""
        retry_after = error.retry_after if isinstance(error, PassingError) else None
        return cls(
            key=key,
            code=error.code,
            message=error.message,
            field=error.field,
            retry_after=retry_after,
        )

    def error(self) -> ForebayError:
        """Return the error that this message carries."""
        error = from_code(self.code, self.message, self.field)
        if isinstance(error, PassingError):
            error.retry_after = self.retry_after
        return error


class Beat(Frame):
    """Message to the worker, sent regularly (a heartbeat): the engine's step counter, its cache."""

    op: Literal["beat"] = "beat"
    steps: int
    pages: CachePages


Command = Start | Submit | SubmitAlike | Cancel | Embed
Reply = Ready | Text | Completed | Embedded | Failed | Beat

_commands: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="op")])
_replies: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="op")])

read_command: Callable[[bytes], Command] = _commands.validate_json
read_reply: Callable[[bytes], Reply] = _replies.validate_json


def write(messages: Iterable[Frame], sink: BinaryIO) -> None:
    """Write messages together, each as one line. Only one thread may write at a time."""
    lines = [message.model_dump_json() for message in messages]
    sink.write("\n".join([*lines, ""]).encode())
    sink.flush()


def lines(source: BufferedReader) -> Iterator[list[bytes]]:
    """Yield the whole lines that have come, as many as there are at once.

    Half a line at the end of the source is dropped.
    """
    parts: list[bytes] = []
    while chunk := source.read1(READ_BYTES):
        parts.append(chunk)
        if b"\n" in chunk:
            *whole, rest = b"".join(parts).split(b"\n")
            parts = [rest]
            yield whole
