"""The answer of ConverseStream: its text goes out as it comes, and its end is read as Converse's.

The events are read from the connection itself, since boto3 drops or rejects fields of an unexpected
type. The usage is the last event: a stream that is cut before it may have been billed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from botocore.eventstream import EventStreamBuffer, EventStreamMessage

from forebay.routing.errors import ForebayError
from forebay.workers.engines.engine import TakeText
from forebay.workers.frontier.bedrock.converse_errors import from_stream
from forebay.workers.frontier.bedrock.converse_reply import BODY, MAX_TEXT_CHARS
from forebay.workers.frontier.provider import OutcomeUnknown
from forebay.workers.frontier.response_json import read_object

_CUT = "Bedrock's stream was cut short"


def keep_stream(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Keep the open stream of a response from boto3's parser (handler of `before-parse`)."""
    if response_dict["status_code"] == 200:  # noqa: PLR2004 - the only status of an answer
        customized_response_dict[BODY] = response_dict["body"]
        response_dict["body"] = io.BytesIO()


def streamed_body(response: dict[str, Any], model: str, on_text: TakeText) -> dict[str, Any]:
    """Return what the events of a stream say, in the shape of a body of Converse.

    Raises:
        OutcomeUnknown: The stream ended, or broke, before the usage was known.
        ForebayError: An error that Bedrock sent in place of an answer.
    """
    stream, answer = response[BODY], _Answer(on_text)
    try:
        for message in _messages(stream):
            if error := _error(message, model, begun=answer.begun):
                raise error
            answer.take(message)
    finally:
        stream.close()
    if not answer.ended:
        raise OutcomeUnknown(_CUT)
    return answer.body()


def _messages(stream: Any) -> Iterator[EventStreamMessage]:
    """Yield the messages of a stream; a connection that breaks is the end of it."""
    buffer = EventStreamBuffer()
    for chunk in stream.stream():
        buffer.add_data(chunk)
        yield from buffer


def _error(message: EventStreamMessage, model: str, *, begun: bool) -> ForebayError | None:
    """Return the error that a message stands for, if it is one.

    An error in place of the first event means that the model was not asked.
    """
    headers = message.headers
    if headers.get(":message-type") == "event":
        return None
    code = str(headers.get(":exception-type") or headers.get(":error-code") or "")
    text = str(_fields(message).get("message", ""))
    error = from_stream(code, text, model)
    return error if not begun else OutcomeUnknown(error.message, field=error.field)


def _fields(message: EventStreamMessage) -> dict[str, Any]:
    return read_object(message.payload) or {}


#: What a stream's last event about the text may say of it.
_ENDINGS = ("stopReason", "additionalModelResponseFields")


class _Answer:
    """What the events have said so far.

    Attributes:
        begun: at least one event has come, so the model was asked.
        ended: the event with the usage has come.
    """

    def __init__(self, on_text: TakeText) -> None:
        self.begun = self.ended = False
        self._on_text = on_text
        self._texts: list[Any] = []
        self._chars = 0
        self._end: dict[str, Any] = {}

    def take(self, message: EventStreamMessage) -> None:
        """Take the next event."""
        self.begun = True
        name, fields = message.headers.get(":event-type"), _fields(message)
        if name == "contentBlockDelta":
            self._take_text(fields.get("delta"))
        elif name == "messageStop":
            self._end |= {key: fields[key] for key in _ENDINGS if key in fields}
        elif name == "metadata":
            self._end |= {key: fields[key] for key in ("usage", "serviceTier") if key in fields}
            self.ended = True

    def _take_text(self, delta: Any) -> None:
        """Keep the text of a delta and pass it on; reasoning has no text."""
        if not isinstance(delta, dict) or "text" not in delta or self._chars > MAX_TEXT_CHARS:
            return
        text = delta["text"]
        self._texts.append({"text": text})
        if isinstance(text, str):
            self._chars += len(text)
            self._on_text(text.encode("utf-8", "replace").decode())

    def body(self) -> dict[str, Any]:
        """Return the answer as Converse would have given it."""
        return {"output": {"message": {"content": self._texts}}, **self._end}
