"""What a worker and an engine's own process say to each other: one JSON object a line, no pickle.

A `key` names a request across the pipe; the worker makes it, the engine's process gives it back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import Field, TypeAdapter

from forebay.routing.errors import ForebayError, PassingError, from_code
from forebay.workers.engines.engine import Completion, EngineInfo, Frame, Prompt, Vectors


class Start(Frame):
    """The first line: make an engine of these settings."""

    op: Literal["start"] = "start"
    settings: dict[str, Any]
    beat_s: float


class Submit(Frame):
    """Answered by `Completed` or `Failed`."""

    op: Literal["submit"] = "submit"
    key: str
    prompt: Prompt


class Cancel(Frame):
    """Not answered; the request it names is."""

    op: Literal["cancel"] = "cancel"
    prompt_id: str


class Embed(Frame):
    """Answered by `Embedded` or `Failed`."""

    op: Literal["embed"] = "embed"
    key: str
    texts: tuple[str, ...] = Field(repr=False)


class Ready(Frame):
    """The engine is made."""

    op: Literal["ready"] = "ready"
    info: EngineInfo


class Completed(Frame):
    """An answer to `Submit`."""

    op: Literal["completed"] = "completed"
    key: str
    completion: Completion


class Embedded(Frame):
    """An answer to `Embed`."""

    op: Literal["embedded"] = "embedded"
    key: str
    vectors: Vectors


class Failed(Frame):
    """One of our errors, as an answer; with an empty key the engine itself could not be made."""

    op: Literal["failed"] = "failed"
    key: str
    code: str
    message: str
    field: str | None
    retry_after: float | None

    @classmethod
    def of(cls, key: str, error: ForebayError) -> Failed:
        """The error, ready to travel."""
        retry_after = error.retry_after if isinstance(error, PassingError) else None
        return cls(
            key=key,
            code=error.code,
            message=error.message,
            field=error.field,
            retry_after=retry_after,
        )

    def error(self) -> ForebayError:
        """The error that travelled."""
        error = from_code(self.code, self.message, self.field)
        if isinstance(error, PassingError):
            error.retry_after = self.retry_after
        return error


class Beat(Frame):
    """The engine's step counter, at every beat."""

    op: Literal["beat"] = "beat"
    steps: int


Command = Start | Submit | Cancel | Embed
Reply = Ready | Completed | Embedded | Failed | Beat

_commands: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="op")])
_replies: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="op")])

read_command: Callable[[bytes], Command] = _commands.validate_json
read_reply: Callable[[bytes], Reply] = _replies.validate_json


def write(frame: Frame, sink: BinaryIO) -> None:
    """One line. The caller sees to it that only one thread writes at a time."""
    sink.write(frame.model_dump_json().encode() + b"\n")
    sink.flush()
