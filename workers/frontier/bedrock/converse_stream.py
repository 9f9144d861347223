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
from forebay.workers.frontier.responses.bounded_body import MAX_BODY_BYTES, BoundedBody
from forebay.workers.frontier.responses.response_json import read_object

_CUT = "Bedrock's stream was cut short"
LAST_BYTES_S = 1.0  # for what follows the last event, so that the connection can be used again
_LENGTH_BYTES = 4  # of each message's length, with which it begins


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
        OutcomeUnknown: The stream ended, or broke, before the usage was known, or took too long:
            another worker may call once the call's term is over.
        ForebayError: An error that Bedrock sent in place of an answer.
    """
    stream, answer = response[BODY], _Answer(on_text)
    try:
        for message in _messages(stream):
            if answer.ended:
                continue  # nothing that follows is of the answer
            if error := _error(message, model, begun=answer.begun):
                raise error  # noqa: TRY301 - as whatever else breaks before the end
            if answer.take(message):
                stream.end_within(LAST_BYTES_S)
    except Exception:
        if not answer.billed:
            raise
    finally:
        stream.close()
    if not answer.billed:
        raise OutcomeUnknown(_CUT)
    return answer.body()


def _messages(stream: BoundedBody) -> Iterator[EventStreamMessage]:
    """Yield the messages of a stream; a connection that breaks is the end of it.

    botocore copies what it has with each piece that comes, so it gets whole messages.
    """
    came, buffer = bytearray(), EventStreamBuffer()
    for chunk in stream.stream():
        came += chunk
        while len(came) >= _LENGTH_BYTES:
            length = int.from_bytes(came[:_LENGTH_BYTES])
            if not _LENGTH_BYTES < length <= MAX_BODY_BYTES:
                raise OutcomeUnknown("Bedrock's response is no stream of events")
            if len(came) < length:
                break
            buffer.add_data(bytes(came[:length]))
            del came[:length]
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


#: What the events of a stream's end say, by their name.
_ENDINGS = {
    "messageStop": ("stopReason", "additionalModelResponseFields"),
    "metadata": ("usage", "serviceTier"),
}


class _Answer:
    """What the events have said so far.

    Attributes:
        begun: at least one event has come, so the model was asked.
        billed: the event with the usage has come.
    """

    def __init__(self, on_text: TakeText) -> None:
        self.begun = False
        self._on_text = on_text
        self._texts: list[Any] = []
        self._chars = 0
        self._block = 0  # the first whose text may still come
        self._in_order = True
        self._ends: dict[str, dict[str, Any]] = {}  # by the name of their event

    @property
    def billed(self) -> bool:
        """Whether the event with the usage has come."""
        return "metadata" in self._ends

    @property
    def ended(self) -> bool:
        """Whether all events have come that an answer has."""
        return len(self._ends) == len(_ENDINGS)

    def take(self, message: EventStreamMessage) -> bool:
        """Take the next event; return whether it is the last that an answer has."""
        name, fields = str(message.headers.get(":event-type")), _fields(message)
        if name == "messageStart":
            self._in_order &= not self.begun
        elif name in _ENDINGS:
            self._take_end(name, fields)
        elif name == "contentBlockDelta":
            self._take_text(fields)
        elif name == "contentBlockStop":
            self._block = max(self._block, _block(fields) + 1)
        self.begun = True
        return self.ended

    def _take_end(self, name: str, fields: dict[str, Any]) -> None:
        """Keep what an event of the end says; of two that differ, neither can be believed."""
        said = {key: fields[key] for key in _ENDINGS[name] if key in fields}
        self._in_order &= name not in self._ends
        known = self._ends.setdefault(name, said)
        self._ends[name] = known if known == said else {"usage": None}

    def _take_text(self, fields: dict[str, Any]) -> None:
        """Keep the text of a delta and pass it on; reasoning has no text."""
        block, delta = _block(fields), fields.get("delta")
        self._in_order &= "messageStop" not in self._ends and block >= self._block
        self._block = max(self._block, block)
        if not isinstance(delta, dict) or "text" not in delta or self._chars > MAX_TEXT_CHARS:
            return
        text = delta["text"]
        self._texts.append({"text": text})
        if isinstance(text, str) and self._in_order:
            self._chars += len(text)
            self._on_text(text.encode("utf-8", "replace").decode())

    def body(self) -> dict[str, Any]:
        """Return the answer as Converse would have given it; without a text if it came in disorder.

        A text of which a piece came twice, or late, is not what the model wrote.
        """
        content = self._texts if self._in_order else None
        ends = {key: value for end in self._ends.values() for key, value in end.items()}
        return {"output": {"message": {"content": content}}, **ends}


def _block(fields: dict[str, Any]) -> int:
    """Return the index of the block of text that an event is about."""
    index = fields.get("contentBlockIndex")
    return index if isinstance(index, int) else 0
