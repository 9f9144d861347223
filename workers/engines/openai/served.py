"""What a server says of itself, and what a trial shows: its model, context and constraints."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.workers.engines.openai.address import FIELD
from forebay.workers.engines.openai.client import OpenClient
from forebay.workers.engines.openai.formats import (
    Form,
    grammar_fields,
    pattern_schema,
    schema_fields,
)
from forebay.workers.engines.openai.generation import Generation
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.weights.digests import SHORT_DIGEST_CHARS

#: How many alternatives of a token to ask for: servers refuse more than their own limit.
_TOP_LOGPROBS = (100, 20, 5, 0)
_CONTEXT_NAMES = ("max_model_len", "max_context_length", "context_length")
#: What the server says of its model that changes without the model.
_PASSING = frozenset({"created", "permission", "modified_at", "status"})
_MAX_FORCED_LOGPROB = -0.5  # of what no model writes by itself, unless the constraint scores it


@dataclass(frozen=True, slots=True)
class _Demand:
    """A constraint that is tried, and the text that shows that it is in force."""

    fields: dict[str, Any]
    text: str


_GRAMMAR = _Demand(grammar_fields(grammars.literal("Q7")), "Q7")
_ENUM = _Demand(schema_fields({"enum": ["Q7"]}), '"Q7"')
_PATTERN = _Demand(schema_fields(pattern_schema("Q[7]Z")), '"Q7Z"')


@dataclass(frozen=True, slots=True)
class Served:
    """A server's model.

    Attributes:
        model: the name to ask for.
        answering: the name that the server's answers give; another means another model.
        revision: digest of what the server says of the model. The server does not tell the digest
            of the weights.
        context_tokens: as the server says; `None` if it does not.
        top_logprobs: how many alternatives of each token it scores; 0 if it scores only the token.
        logprobs: it scores tokens.
        form: the form of constraint that it enforces; `None` if it ignores both.
        raw: its scores are the model's own, also of a forced token; else those that the constraint
            leaves.
        patterns: it enforces regular expressions in a JSON Schema.
    """

    model: str
    answering: str | None
    revision: str
    context_tokens: int | None
    top_logprobs: int
    logprobs: bool
    form: Form | None
    raw: bool
    patterns: bool


async def served(client: OpenClient, model: str | None) -> Served:
    """Ask the server what it serves, and try it with one short request.

    Raises:
        Misconfigured: The server has no such model, or several and none is chosen; or it refuses
            the key; or it has no such API.
        Unavailable: The server cannot be reached.
        EngineBusy: The server has no room for a request now.
    """
    entry = await chosen_model(client, model)
    name = str(entry["id"])
    generation = await _scored(client, name)
    said = {key: value for key, value in entry.items() if key not in _PASSING}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    form, forced = await _form(client, name, scored=bool(generation.tokens))
    return Served(
        model=name,
        answering=generation.model,
        revision=digest[:SHORT_DIGEST_CHARS],
        context_tokens=await _context(client, entry),
        top_logprobs=max((len(token.top) for token in generation.scored()), default=0),
        logprobs=bool(generation.tokens),
        form=form,
        raw=sum(forced.logprobs) < _MAX_FORCED_LOGPROB,
        patterns=form == "schema" and _obeyed(await _try(client, name, _PATTERN), _PATTERN),
    )


async def chosen_model(client: OpenClient, model: str | None) -> dict[str, Any]:
    """Return what the server says of the chosen model, or of its only one.

    Raises:
        Misconfigured, Unavailable: See `served`.
    """
    listing = await client.get("models")
    entries = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("id"), str) for entry in entries
    ):
        raise Misconfigured(
            "has no list of models: it must end in the path of the API, /v1", field=FIELD
        )
    named = [entry for entry in entries if model in {None, entry["id"]}]
    if len(named) == 1:
        return dict(named[0])
    names = ", ".join(sorted(entry["id"] for entry in entries)[:10]) or "no model"
    raise Misconfigured(
        f"must be one of what the server has: {names}", field="FOREBAY_OPENAI_MODEL"
    )


async def _scored(client: OpenClient, model: str) -> Generation:
    """Return a short answer with as many alternatives for each token as the server tells."""
    for count in _TOP_LOGPROBS:
        try:
            return await _answer(client, model, {"logprobs": True, "top_logprobs": count})
        except InvalidJob:
            continue
    try:
        return await _answer(client, model, {})
    except InvalidJob as error:
        raise Misconfigured(f"a short request {error.message}", field=FIELD) from None


async def _form(client: OpenClient, model: str, *, scored: bool) -> tuple[Form | None, Generation]:
    """Return the form of constraint that the server enforces, and a forced answer."""
    forms: tuple[tuple[Form, _Demand], ...] = (("grammar", _GRAMMAR), ("schema", _ENUM))
    for form, demand in forms:
        generation = await _try(client, model, demand, scored=scored)
        if _obeyed(generation, demand):
            return form, generation
    return None, Generation()


async def _try(
    client: OpenClient, model: str, demand: _Demand, *, scored: bool = False
) -> Generation:
    try:
        logprobs = {"logprobs": True, "top_logprobs": 1} if scored else {}
        return await _answer(client, model, demand.fields | logprobs)
    except InvalidJob:
        return Generation()


def _obeyed(generation: Generation, demand: _Demand) -> bool:
    return "".join(generation.text).strip() == demand.text


async def _answer(client: OpenClient, model: str, more: dict[str, Any]) -> Generation:
    body: dict[str, Any] = {
        "model": model, "messages": [{"role": "user", "content": "Hello."}], "stream": True,
        "max_tokens": 12, "temperature": 0,
    }  # fmt: skip
    generation = Generation()
    async for chunk in client.chat(body | more):
        generation.take(chunk)
    return generation


async def _context(client: OpenClient, entry: dict[str, Any]) -> int | None:
    """Return the context as vLLM and others, llama-server or TabbyAPI tell it."""
    for name in _CONTEXT_NAMES:
        if isinstance(entry.get(name), int):
            return int(entry[name])
    props = await _document(client, "../props")
    settings = props.get("default_generation_settings")
    if isinstance(settings, dict) and isinstance(settings.get("n_ctx"), int):
        return int(settings["n_ctx"])
    parameters = (await _document(client, "model")).get("parameters")
    length = parameters.get("max_seq_len") if isinstance(parameters, dict) else None
    return length if isinstance(length, int) else None


async def _document(client: OpenClient, path: str) -> dict[str, Any]:
    try:
        document = await client.get(path)
    except Misconfigured:  # another kind of server
        return {}
    return document if isinstance(document, dict) else {}
