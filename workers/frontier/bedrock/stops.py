"""The stop strings of a prompt: which ones Bedrock is sent, and which one ended an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from forebay.routing.base import shows_text
from forebay.routing.policy.capabilities import Capabilities
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.provider import Reply


def unsent_stops(prompt: Prompt, can: Capabilities) -> list[str]:
    """Return the stop strings that Bedrock does not take: of white space, or all of a model."""
    return [stop for stop in prompt.stop if not (can.stops and shows_text(stop))]


def ended(reply: Reply, prompt: Prompt, can: Capabilities) -> Reply:
    """Return the reply up to the stop string that ended it, with that string if it is certain.

    Some models leave the string at the end of their text, and few name it. If Bedrock says that one
    ended the text and was sent only one, it is that one; of several, nobody can tell.
    """
    text, stop = _cut_at(reply.text, prompt.stop)
    if stop is not None:
        return replace(reply, text=text, finish="stop", stop_sequence=stop)
    unsent = unsent_stops(prompt, can)
    sent = [one for one in dict.fromkeys(prompt.stop) if one not in unsent]
    if reply.stopped and reply.stop_sequence is None and len(sent) == 1:
        return replace(reply, stop_sequence=sent[0])
    return reply


def _cut_at(text: str, stops: Iterable[str]) -> tuple[str, str | None]:
    """Return the text up to the first of these stop strings, and that string if there is one."""
    found = [(at, stop) for stop in stops if (at := text.find(stop)) >= 0]
    if not found:
        return text, None
    at, stop = min(found)
    return text[:at], stop
