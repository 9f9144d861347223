"""From an answer of chat completions to a reply. A whole response of status 200 is billed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeGuard

from forebay.routing.limits.prices import Tier, Usage
from forebay.workers.engines.engine import Ending, TakeText
from forebay.workers.frontier.provider import (
    MAX_TOKENS,
    Malformed,
    OutcomeUnknown,
    Refused,
    Reply,
)
from forebay.workers.frontier.responses.response_json import read_object

FINISHES: dict[str, Ending] = {"stop": "stop", "length": "length"}
_TIERS: dict[Any, Tier] = {"default": "default", "flex": "flex", "priority": "priority"}
_CUT = "the response is cut short, or is no chat completion"


def whole_body(data: bytes) -> dict[str, Any]:
    """Return the JSON object of a whole response; raise `OutcomeUnknown` if it is none."""
    body = read_object(data)
    if body is None or not {"choices", "usage"} & body.keys():
        raise OutcomeUnknown(_CUT)
    return body


def streamed_body(lines: Iterable[bytes], on_text: TakeText) -> dict[str, Any]:
    """Return what the events of a stream say, in the shape of a whole response.

    Raises:
        OutcomeUnknown: The stream ended before its end was said, or with an error.
    """
    texts: list[str] = []
    refusals: list[str] = []
    last: dict[str, Any] = {}
    finish: Any = None
    stop: Any = None
    done = False
    for line in lines:
        data = line.strip().removeprefix(b"data:").strip()
        done = data == b"[DONE]"
        if done:
            break
        if not line.startswith(b"data:"):
            continue
        chunk = _chunk(data)
        last |= {key: chunk[key] for key in ("usage", "service_tier") if chunk.get(key)}
        choice = _first(chunk.get("choices"))
        finish = choice.get("finish_reason") or finish
        stop = choice.get("stop_reason") or stop
        delta = choice.get("delta")
        if isinstance(delta, dict) and isinstance(delta.get("refusal"), str):
            refusals.append(delta["refusal"])
        if isinstance(delta, dict) and isinstance(delta.get("content"), str):
            texts.append(delta["content"])
            on_text(_storable(delta["content"]))
    if not (done or (finish and "usage" in last)):  # some services leave out [DONE]
        raise OutcomeUnknown("the stream was cut short")
    message = {"content": "".join(texts), "refusal": "".join(refusals) or None}
    ending = {"finish_reason": finish, "stop_reason": stop}
    return {**last, "choices": [{"message": message, **ending}]}


def read_reply(
    body: dict[str, Any], asked: tuple[str, Tier], *, stand_in: bool, latency_s: float
) -> Reply:
    """Read a whole response; `asked` are the model and the tier of the call.

    Raises:
        Refused, Malformed: There is no usable answer; the call is billed.
    """
    model, asked_tier = asked
    usage = _usage(body.get("usage"))
    reported = body.get("service_tier")
    known = isinstance(reported, str) and reported in _TIERS
    tier = _TIERS[reported] if known else asked_tier
    choice = _first(body.get("choices"))
    message, reason = choice.get("message"), choice.get("finish_reason")
    message = message if isinstance(message, dict) else {}
    if reason == "content_filter" or message.get("refusal"):
        raise Refused(f"{model} declined to answer", usage, tier, stand_in=stand_in)
    finish = FINISHES.get(reason) if isinstance(reason, str) else "length"
    text = message.get("content")
    if finish is None or not isinstance(text, str):
        note = f"{model} gave an answer without a readable text"
        raise Malformed(note, usage, tier, stand_in=stand_in)
    stop = choice.get("stop_reason")  # vLLM's: a stop string, or the id of a token
    stop = stop if isinstance(stop, str) else None
    reply = Reply(_storable(text), usage, finish, model, tier, stand_in, latency_s)
    return replace(reply, stop_sequence=stop)


def _chunk(data: bytes) -> dict[str, Any]:
    chunk = read_object(data)
    if chunk is None or "error" in chunk:
        raise OutcomeUnknown("the stream broke off with an error")
    return chunk


def _first(choices: Any) -> dict[str, Any]:
    found = choices[0] if isinstance(choices, list) and choices else None
    return found if isinstance(found, dict) else {}


def _storable(text: str) -> str:
    """Return a text that can be stored: half a surrogate pair cannot."""
    return text.encode("utf-8", "replace").decode()


def _usage(counts: Any) -> Usage | None:
    """Return the tokens; `None` if a count is missing, impossible, or contradicts another.

    Some services leave the tokens of reasoning out of those of the answer; the total has them.
    """
    if not isinstance(counts, dict):
        return None
    details = counts.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    read = 0 if cached is None else cached
    prompt, output = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if (
        not (_is_count(prompt) and _is_count(output) and _is_count(read))
        or read > prompt
        or not prompt
    ):
        return None
    total = counts.get("total_tokens")
    total = prompt + output if total is None else total
    if not _is_count(total) or total < prompt + output:
        return None
    return Usage(input=prompt - read, output=total - prompt, cache_read=read)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_TOKENS
