"""The stop strings of a prompt: which ones a service is sent, and which one ended an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from forebay.routing.base import shows_text
from forebay.routing.policy.capabilities import Capabilities
from forebay.routing.receipts import TokenLogprob
from forebay.workers.engines.engine import Prompt, TakeText
from forebay.workers.engines.stop_strings import StopStrings, before_stop
from forebay.workers.frontier.provider import Reply
from forebay.workers.frontier.sending.sent_turns import begins_again

MAX_STOPS_SENT = 4  # in one call: what every model takes


def sent_stops(prompt: Prompt, can: Capabilities) -> list[str]:
    """Return the stop strings that a service is sent. The text is cut at the others afterwards.

    No service takes strings of white space, and some models take none at all.
    """
    stops = [stop for stop in dict.fromkeys(prompt.stop) if shows_text(stop)]
    return stops[:MAX_STOPS_SENT] if can.stops else []


def until_stop(on_text: TakeText | None, prompt: Prompt, can: Capabilities) -> TakeText | None:
    """Return what takes the text of a stream, and passes it on up to the first stop string.

    The rest of the stream is read nevertheless: its end says what is billed. There is no stream of
    an answer that begins with what the caller has.
    """
    if on_text is None or begins_again(prompt, can):
        return None
    ending, given = StopStrings(prompt.stop), 0

    def take(text: str, tokens: Iterable[TokenLogprob] = (), /) -> None:  # noqa: ARG001 - no frontier service scores tokens
        nonlocal given
        if ending.found is None:
            ending.feed(text)
            on_text(ending.text[given : ending.safe])
            given = ending.safe

    return take if prompt.stop else on_text


def ended(reply: Reply, prompt: Prompt, can: Capabilities) -> Reply:
    """Return the reply up to the stop string that ended it, with that string if it is certain.

    Some models leave the string at the end of their text, and few name it. If the service says that
    one ended the text and was sent only one, it is that one; of several, nobody can tell.
    """
    text, stop = before_stop(reply.text, prompt.stop)
    if stop is not None:
        return replace(reply, text=text, finish="stop", stop_sequence=stop)
    sent = sent_stops(prompt, can)
    if reply.stopped and reply.stop_sequence is None and len(sent) == 1:
        return replace(reply, stop_sequence=sent[0])
    return reply
