"""A chat in any wire format, as the jobs that it stands for; and an answer's content as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from forebay.producers.gateway.asking.model_names import Target
from forebay.producers.gateway.asking.options import NOTHING, Own
from forebay.producers.gateway.asking.terms import terms
from forebay.producers.gateway.asking.tools import Reply, Tools
from forebay.producers.gateway.errors import InvalidRequest
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import (
    Classification,
    Content,
    Extraction,
    Generation,
    Job,
    Summary,
)
from forebay.routing.receipts import TokenLogprob

_SEEDS = 2**31  # a job's seed is below


@dataclass(frozen=True, slots=True)
class Chat:
    """What all wire formats say about a chat. `None` means that the caller did not say it.

    Attributes:
        messages: pairs of a role (`system`, `user`, `assistant` or `tool`) and a text.
        schema: the JSON Schema of the answer.
        tools: what the model may call.
        logprobs: tell the probability of each token, and of so many of the most probable ones.
        bulk: the caller does not hurry.
        metadata: the caller's own entries.
        fields: how the wire format names the fields of a job, if it names them otherwise.
    """

    messages: Sequence[tuple[str, str]]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    schema: dict[str, Any] | None = None
    tools: Tools | None = None
    logprobs: int | None = None
    bulk: bool = False
    metadata: dict[str, str] | None = None
    fields: Mapping[str, str] | None = None

    @property
    def form(self) -> Tools | None:
        """The form of an answer that may call tools; `None` if there are none to call."""
        if self.tools is None or self.messages[-1][0] != "assistant":
            return self.tools
        return self.tools.after(self.messages[-1][1], as_json=self.schema is not None)


def jobs(
    chat: Chat, target: Target, own: Own | None, headers: Mapping[str, str], tenant: str, n: int = 1
) -> list[Job]:
    """Return the jobs that a chat stands for: one for each choice.

    Raises:
        InvalidRequest: The kind of job cannot be asked in this way.
        InvalidJob: Names the wrong field as the wire format names it.
        EgressDenied: The job is pinned to Bedrock and may not leave the building.
    """
    own = own or NOTHING
    kind = target.kind or "generate"
    options = _with_chat(terms(kind, target, own, headers), chat)
    request = _request(kind, chat, own)
    with named({**(chat.fields or {}), **({"schema": "tools"} if chat.tools else {})}):
        return [
            Job.model_validate(
                {"tenant": tenant, "request": _nth_request(request, i), **_nth_options(options, i)}
            )
            for i in range(n)
        ]


def _with_chat(options: dict[str, Any], chat: Chat) -> dict[str, Any]:
    """Return the options of a job with what the chat says about them."""
    if chat.bulk:
        options.setdefault("priority", "bulk")
    if chat.metadata:
        options["metadata"] = {**chat.metadata, **options.get("metadata", {})}
    return options


def _request(kind: str, chat: Chat, own: Own) -> dict[str, Any]:
    """Return the request of one kind. Only `generate` takes a whole chat."""
    if kind == "generate":
        return _generate(chat)
    if kind not in _OF_ONE_TEXT:
        words = f"a job of the kind {kind} is no chat: POST /jobs takes it"
        raise InvalidRequest(words, field="model")
    if chat.tools:
        raise InvalidRequest(f"a job of the kind {kind} calls no tools", field="tools")
    if chat.logprobs is not None:
        words = f"a job of the kind {kind} tells the probability of its labels, not of tokens"
        words = words if kind == "classify" else f"a job of the kind {kind} tells no probabilities"
        raise InvalidRequest(words, field="logprobs")
    if len(chat.messages) != 1 or chat.messages[0][0] != "user":
        words = f"forebay/{kind} takes one message of the user: the text"
        raise InvalidRequest(words, field="messages")
    given = {
        "labels": own.labels, "schema": chat.schema, "max_words": own.max_words, "focus": own.focus,
    }  # fmt: skip
    fields = {name: given[name] for name in _OF_ONE_TEXT[kind] if given[name] is not None}
    return {"kind": kind, "text": chat.messages[0][1], **fields}


def _generate(chat: Chat) -> dict[str, Any]:
    form = chat.form
    schema = form.schema(chat.schema) if form else chat.schema
    given = {
        "max_tokens": chat.max_tokens, "temperature": chat.temperature, "top_p": chat.top_p,
        "stop": tuple(chat.stop) or None, "schema": schema,
        "logprobs": chat.logprobs,
        "seed": None if chat.seed is None else chat.seed % _SEEDS,
    }  # fmt: skip
    messages = [{"role": role, "content": content} for role, content in _turns(chat)]
    fields = {name: value for name, value in given.items() if value is not None}
    return {"kind": "generate", "messages": messages, **fields}


def _turns(chat: Chat) -> list[tuple[str, str]]:
    """Return the turns of a chat with its tools: results of tools in a row are one user's turn."""
    turns: list[tuple[str, str]] = []
    for role, text in chat.messages:
        if role == "tool" and turns and turns[-1][0] == "tool":
            turns[-1] = ("tool", f"{turns[-1][1]}\n\n{text}")
        else:
            turns.append((role, text))
    turns = [("user" if role == "tool" else role, text) for role, text in turns]
    form = chat.form
    if form is None:
        return turns
    if form.begun:
        turns[-1] = ("assistant", form.begun)
    about = form.instructions()
    if turns and turns[0][0] == "system":
        return [("system", f"{turns[0][1]}\n\n{about}"), *turns[1:]]
    return [("system", about), *turns]


#: The fields of the kinds whose content is one text.
_OF_ONE_TEXT: dict[str, tuple[str, ...]] = {
    "classify": ("labels",),
    "extract": ("schema",),
    "summarize": ("max_words", "focus"),
}


def _nth_request(request: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the request of the choice of this number: each choice has a seed of its own."""
    if not number or "seed" not in request:
        return request
    return {**request, "seed": (request["seed"] + number) % _SEEDS}


def _nth_options(options: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the options of the choice of this number: no two jobs share an idempotency key."""
    if not number or "idempotency_key" not in options:
        return options
    return {**options, "idempotency_key": f"{options['idempotency_key']}#{number}"}


@contextmanager
def named(fields: Mapping[str, str]) -> Iterator[None]:
    """Name the field of an error as the wire format names it."""
    try:
        yield
    except InvalidJob as error:
        if error.field:
            head, dot, rest = error.field.partition(".")
            error.field = fields.get(head, head) + dot + rest
        raise


def text_of(content: Content) -> str:
    """Return an answer's content as the text of a message."""
    match content:
        case Generation() | Summary():
            return content.text
        case Classification():
            return content.label
        case Extraction():
            return json.dumps(content.data, ensure_ascii=False)
    return content.model_dump_json(exclude={"kind"})


def reply_of(content: Content, tools: Tools | None) -> Reply:
    """Return what an answer says: its text, or the calls of tools that it makes."""
    text = text_of(content)
    return tools.reply(text) if tools else Reply(text)


def tokens_of(content: Content) -> Sequence[TokenLogprob] | None:
    """Return the tokens of an answer, if their probabilities were asked for."""
    return content.logprobs if isinstance(content, Generation) else None


def was_cut(content: Content) -> bool:
    """Return whether the answer ends where its tokens were used up."""
    return isinstance(content, Generation) and content.finish == "length"
