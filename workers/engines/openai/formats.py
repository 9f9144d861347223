"""Constraints as the two forms in which servers of this API enforce them.

1. llama-server takes a grammar of llguidance, if it was built with that library.
2. The others take a JSON Schema. A choice and a regular expression become schemas of a JSON string,
   which is read back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.engine import Choice, Constraint, Pattern, Prompt
from forebay.workers.engines.tokens import grammars, trial
from forebay.workers.engines.tokens.patterns import relaxed_pattern

Form = Literal["grammar", "schema"]
_QUOTE_TOKENS = 4  # that the quotes of a JSON string and a space may take beside the text inside


@dataclass(frozen=True)
class Format:
    """What the text of an answer must look like.

    Attributes:
        fields: the fields of the request that demand it.
        json: the text is JSON.
        quoted: the answer is the inside of a JSON string.
        options: the answer is one of these; `None` if it may be another.
    """

    fields: dict[str, Any]
    json: bool
    quoted: bool = False
    options: tuple[str, ...] | None = None

    @property
    def extra_tokens(self) -> int:
        """Tokens of the text that are no part of the answer."""
        return _QUOTE_TOKENS if self.quoted else 0

    def read(self, text: str) -> str | None:
        """Return the answer in a whole text; `None` if the text does not keep to the format."""
        answer: Any = text
        if self.json:
            try:
                answer = json.loads(text)
            except ValueError:
                return None
        if not self.quoted:
            answer = text
        kept = isinstance(answer, str) and (self.options is None or answer in self.options)
        return answer if kept else None

    def begins(self, text: str) -> bool:
        """Return whether a text that was cut may be the start of an answer."""
        if self.options is None:
            return not self.quoted or text.lstrip()[:1] in {"", '"'}
        wholes = [quoted(option) if self.quoted else option for option in self.options]
        return any(whole.startswith(text) for whole in wholes)


def format_of(prompt: Prompt, constraint: Constraint, form: Form) -> Format:
    """Return the strictest format that can be enforced of a constraint.

    Raises:
        InvalidJob: The constraint cannot be enforced.
    """
    for body, schema in _candidates(prompt, constraint):
        if trial.compiles(grammars.grammar(body)):
            return _format(prompt, constraint, form, body, schema)
    raise grammars.refusal(constraint, best_effort=prompt.best_effort)


def unenforced(constraint: Constraint) -> InvalidJob:
    """Return the error of a constraint that the server ignored."""
    message = f"is a {constraint.type} that the server of FOREBAY_OPENAI_URL does not enforce"
    return InvalidJob(message, field=grammars.field_of(constraint))


def begun_otherwise(constraint: Constraint) -> InvalidJob:
    """Return the error of an answer that does not begin as the assistant's last message does."""
    message = (
        f"must end with the user's: the server of FOREBAY_OPENAI_URL enforces a {constraint.type} "
        "on whole answers alone, and began this one otherwise than the assistant's last message"
    )
    return InvalidJob(message, field="messages")


def grammar_fields(body: str) -> dict[str, Any]:
    """Return the fields of a request that demand a grammar."""
    return {"grammar": grammars.grammar(body)}


def schema_fields(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that demand a JSON Schema."""
    named = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def literal_fields(option: str, form: Form) -> dict[str, Any]:
    """Return the fields of a request that force one option, as a JSON string."""
    if form == "grammar":
        return grammar_fields(grammars.literal(quoted(option)))
    return schema_fields({"enum": [option]})


def quoted(option: str) -> str:
    """Return an option as a JSON string."""
    return json.dumps(option, ensure_ascii=False)


def quoted_tokens(option: str) -> int:
    """Return the most tokens that an option takes as a JSON string."""
    return len(quoted(option).encode()) + _QUOTE_TOKENS


def pattern_schema(regex: str) -> dict[str, Any]:
    """Return the schema of a JSON string that matches a regular expression as a whole."""
    inner = regex.removeprefix("^")
    inner = inner[:-1] if inner.endswith("$") and not inner.endswith(r"\$") else inner
    return {"type": "string", "pattern": f"^({inner})$"}


def _format(
    prompt: Prompt, constraint: Constraint, form: Form, body: str, schema: dict[str, Any]
) -> Format:
    if not isinstance(constraint, (Choice, Pattern)):
        fields = grammar_fields(body) if form == "grammar" else schema_fields(schema)
        return Format(fields, json=True)
    options = constraint.options if isinstance(constraint, Choice) else None
    if form == "schema":
        return Format(schema_fields(schema), json=True, quoted=True, options=options)
    if options and prompt.score_options:  # the quote at its end tells an option from a longer one
        texts = " | ".join(grammars.literal(quoted(option)) for option in options)
        return Format(grammar_fields(texts), json=True, quoted=True, options=options)
    return Format(grammar_fields(body), json=False, options=options)


def _candidates(prompt: Prompt, constraint: Constraint) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield grammars with the schemas that say the same, the strictest first."""
    tokens, best_effort = prompt.max_tokens, prompt.best_effort
    match constraint:
        case Choice(options=options):
            yield grammars.body_of(constraint, tokens), {"enum": list(options)}
        case Pattern(regex=regex):
            relaxed = relaxed_pattern(regex) if best_effort else None
            for pattern in filter(None, (regex, relaxed)):
                yield grammars.body_of(Pattern(regex=pattern), tokens), pattern_schema(pattern)
        case _:
            for body in grammars.bodies_of(constraint, tokens, best_effort=best_effort):
                yield body, grammars.schema_in(body)
