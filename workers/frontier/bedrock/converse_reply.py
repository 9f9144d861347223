"""From a response of Converse to a reply. Whatever its fields hold, a whole response is billed.

boto3 drops or rejects fields of an unexpected type, so the body is read before boto3 parses it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast, get_args

from forebay.routing.limits.prices import Tier, Usage
from forebay.workers.engines.engine import Ending
from forebay.workers.frontier.provider import (
    MAX_TOKENS,
    STAND_IN_MARK,
    Malformed,
    OutcomeUnknown,
    Refused,
    Reply,
)
from forebay.workers.frontier.responses.response_json import read_object

BODY = "forebay-body"  # key of the body, as it came, in boto3's response
MAX_TEXT_CHARS = 4_000_000

#: How a text ends that can be read as an answer, by stop reason; and the reasons of refusals. Any
#: other reason leaves no whole answer.
FINISHES: dict[str, Ending] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
REFUSALS = {"guardrail_intervened", "content_filtered", "refusal"}
_TIERS = {*get_args(Tier)} - {"batch"}  # no answer of Converse comes from a batch


def keep_body(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Keep the body of a successful response from boto3's parser (handler of `before-parse`)."""
    if response_dict["status_code"] == 200:  # noqa: PLR2004 - the only status of an answer
        customized_response_dict[BODY] = response_dict["body"]
        response_dict["body"] = b"{}"


def whole_body(response: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object of a whole response of Converse.

    Raises:
        OutcomeUnknown: The body is cut short, or is no answer of Converse.
    """
    return _body(response[BODY])


def read_reply(
    response: dict[str, Any], body: dict[str, Any], asked: tuple[str, Tier], latency_s: float
) -> Reply:
    """Read the body of a response of status 200; `asked` are the model and the tier of the call.

    Raises:
        Refused, Malformed: There is no usable answer; the call is billed.
    """
    model, asked_tier = asked
    usage, tier = _usage(body.get("usage")), _tier(body.get("serviceTier"), asked_tier)
    reason, stand_in = body.get("stopReason"), headers(response).get(STAND_IN_MARK) == "1"
    if isinstance(reason, str) and reason in REFUSALS:
        raise Refused(f"{model} declined to answer ({reason})", usage, tier, stand_in=stand_in)
    # Without a stop reason nothing says that the text is whole.
    finish = FINISHES.get(reason) if isinstance(reason, str) else "length"
    if finish is None:
        note = f"{model} broke off ({code_word(str(reason))})"
        raise Malformed(note, usage, tier, stand_in=stand_in)
    text = _text(body.get("output"))
    if text is None:
        note = f"{model} gave an answer without a readable text"
        raise Malformed(note, usage, tier, stand_in=stand_in)
    if text and usage is not None and not usage.output:
        usage = None  # no text is made of no tokens
    stop = _stop_sequence(body.get("additionalModelResponseFields"))
    reply = Reply(text, usage, finish, model, tier, stand_in, latency_s, stop_sequence=stop)
    return replace(reply, stopped=reason == "stop_sequence")


def headers(response: dict[str, Any]) -> dict[str, str]:
    """Return the HTTP headers of a response of boto3."""
    return cast("dict[str, str]", response.get("ResponseMetadata", {}).get("HTTPHeaders", {}))


def code_word(text: str) -> str:
    """Return the text if it is one word, as Bedrock's codes are: no other text gets into errors."""
    return text if re.fullmatch(r"\w{1,60}", text, re.ASCII) else "no code"


def _body(data: bytes) -> dict[str, Any]:
    """Return the JSON object of a whole response.

    Raises:
        OutcomeUnknown: The data is no JSON object with an answer or a usage.
    """
    body = read_object(data)
    if body is None or not {"output", "usage"} & body.keys():
        raise OutcomeUnknown("Bedrock's response is cut short, or is no answer of Converse")
    return body


def _text(output: Any) -> str | None:
    """Return the text of an answer; `None` if it has none of the expected shape, or too much."""
    try:
        blocks = output["message"]["content"]
        texts = [block["text"] for block in blocks if "text" in block]  # reasoning has no text
        text = "".join(texts)
    except (TypeError, KeyError):
        return None
    if not isinstance(blocks, list) or len(text) > MAX_TEXT_CHARS:
        return None
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be stored


def _stop_sequence(fields: Any) -> str | None:
    """Return the stop string that the model's own fields name, if one ended the text."""
    stop = fields.get("stop_sequence") if isinstance(fields, dict) else None
    return stop if isinstance(stop, str) and stop else None


def _tier(reported: Any, asked: Tier) -> Tier | None:
    """Return the service tier; `None` if it is no tier that we know.

    A response that does not name a tier is billed in the one that was asked for.
    """
    if reported is None:
        return asked
    tier = reported.get("type", asked) if isinstance(reported, dict) else None
    return tier if isinstance(tier, str) and tier in _TIERS else None  # type: ignore[return-value]  # mypy does not narrow by a set


def _usage(counts: Any) -> Usage | None:
    """Return the tokens; `None` if a count is missing, impossible, or contradicts another."""
    if not isinstance(counts, dict):
        return None
    try:
        written = _count(counts, "cacheWriteInputTokens", 0)
        parts = [
            (part["ttl"], _count(part, "inputTokens")) for part in counts.get("cacheDetails") or ()
        ]
        written_1h = sum(count for ttl, count in parts if ttl == "1h")
        usage = Usage(
            input=_count(counts, "inputTokens"),
            output=_count(counts, "outputTokens"),
            cache_read=_count(counts, "cacheReadInputTokens", 0),
            cache_write_5m=written - written_1h,
            cache_write_1h=written_1h,
        )
        total = _count(counts, "totalTokens", usage.input + usage.output)
    except (TypeError, KeyError, AttributeError, ValueError):
        return None
    agree = sum(count for _, count in parts) <= written and usage.input + usage.output <= total
    return usage if usage.prompt and agree else None


def _count(counts: dict[str, Any], name: str, default: int | None = None) -> int:
    """Return a count of tokens; `default` stands for a missing one.

    Raises:
        ValueError: It is not a whole number from 0 to `MAX_TOKENS`.
    """
    count = counts.get(name)
    if count is None:
        count = default
    if type(count) is not int or not 0 <= count <= MAX_TOKENS:
        raise ValueError(name)
    return count
