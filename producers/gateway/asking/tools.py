"""Tools in a chat: a model calls them in one JSON form, which a grammar enforces in both lanes.

The form and the tools stand in a system message, so a model needs no template for tools. The schema
holds each tool's own schema, so engines, Bedrock and checks see to it that the arguments fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NamedTuple

from pydantic import StringConstraints

from forebay.producers.gateway.errors import InvalidRequest
from forebay.routing.json_tree import unique

MAX_TOOLS = 64
MAX_CALLS = 8  # in one answer
CALLS, ANSWER = "tool_calls", "answer"
ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]

_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
_FORM = (
    "You can call tools. These are the tools, each with the JSON Schema of its arguments:\n"
    "{tools}\n\n"
    "Answer with one JSON object and nothing else: {forms}."
)
_CALL_FORM = '{"tool_calls": [{"name": "NAME OF THE TOOL", "arguments": {...}}]} to call'
_ANSWER_FORM = '{"answer": ...} to answer without a tool'
_BOTH_FORM = '{"answer": ..., "tool_calls": [{"name": "NAME OF THE TOOL", "arguments": {...}}]}'
_CALLS_OPTIONAL = ', without "tool_calls" to answer without a tool'


class Call(NamedTuple):
    """One call of a tool."""

    name: str
    arguments: dict[str, Any]


class Reply(NamedTuple):
    """What an answer says: its text, or the calls that the model makes."""

    text: str
    calls: Sequence[Call] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may call.

    Attributes:
        parameters: the JSON Schema of its arguments.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: _NO_ARGUMENTS)

    @classmethod
    def of(cls, name: str, description: str | None, parameters: Mapping[str, Any] | None) -> Tool:
        """Return a tool as OpenAI's formats name it; without parameters it takes no arguments."""
        return cls(name, description or "", _NO_ARGUMENTS if parameters is None else parameters)


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a chat.

    Attributes:
        tools: what the model may call.
        required: the model must call a tool, and may not answer itself.
        parallel: the model may call several tools at once.
        begun: what the model has written already, in the form; see `after`.
    """

    tools: tuple[Tool, ...]
    required: bool = False
    parallel: bool = True
    begun: str = ""

    def after(self, prefill: str, *, as_json: bool) -> Tools:
        """Return the form of an answer that goes on from a text; calls may follow the text.

        Args:
            prefill: the text.
            as_json: the text begins the JSON of a schema, and is no text of its own.
        """
        written = prefill if as_json else json.dumps(prefill, ensure_ascii=False)[:-1]
        return replace(self, begun=f'{{"{ANSWER}": {written}')

    def schema(self, answer: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the schema of what the model writes.

        Args:
            answer: the schema of an answer without a call; any text if there is none.
        """
        named = {f"tool{number}": tool for number, tool in enumerate(self.tools)}
        definitions = {
            name: _moved(dict(tool.parameters), f"#/$defs/{name}") for name, tool in named.items()
        }
        items = [
            _object({"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{name}"}})
            for name, tool in named.items()
        ]
        most = MAX_CALLS if self.parallel else 1
        item = items[0] if len(items) == 1 else {"anyOf": items}
        calls = {"type": "array", "minItems": 1, "maxItems": most, "items": item}
        if self.required and not self.begun:
            return {**_object({CALLS: calls}), "$defs": definitions}
        if answer is not None:
            definitions[ANSWER] = _moved(dict(answer), f"#/$defs/{ANSWER}")
        said = {"type": "string"} if answer is None else {"$ref": f"#/$defs/{ANSWER}"}
        if self.begun:
            both = _object({ANSWER: said, CALLS: calls})
            required = [ANSWER, CALLS] if self.required else [ANSWER]
            return {**both, "required": required, "$defs": definitions}
        return {"anyOf": [_object({ANSWER: said}), _object({CALLS: calls})], "$defs": definitions}

    def instructions(self) -> str:
        """Return what tells the model about its tools and the form of a call."""
        tools = "\n".join(
            json.dumps(
                {
                    "name": one.name,
                    "description": one.description,
                    "arguments": dict(one.parameters),
                },
                ensure_ascii=False,
            )
            for one in self.tools
        )
        forms = _CALL_FORM if self.required else f"{_CALL_FORM}, or {_ANSWER_FORM}"
        if self.begun:
            forms = f"{_BOTH_FORM}{'' if self.required else _CALLS_OPTIONAL}"
        return _FORM.format(tools=tools, forms=forms)

    def reply(self, text: str) -> Reply:
        """Return what a text in the form says. The checks of the answer have held the form."""
        try:
            said = json.loads(self.begun + text)
        except ValueError:  # a degraded answer whose form is wrong
            return Reply(text)
        if not isinstance(said, dict):
            return Reply(text)
        calls = _calls_in(said)
        if self.begun:
            return Reply(self._following(text), calls)
        answer = "" if calls else said.get(ANSWER, text)
        written = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return Reply(written, calls)

    def _following(self, text: str) -> str:
        """Return what of the answer's own text follows what had begun."""
        whole, start = self.begun + text, len(f'{{"{ANSWER}": ')
        answer, end = json.JSONDecoder().raw_decode(whole, start)
        rest = whole[len(self.begun) : end]
        return json.loads(f'"{rest}') if isinstance(answer, str) else rest


def form_of(text: str) -> Tools | None:
    """Return the form of an answer if it calls tools, of a request that is not known any more.

    An answer without a call cannot be told from what a caller's own schema may allow.
    """
    form = Tools(())
    return form if text.startswith(f'{{"{CALLS}"') and form.reply(text).calls else None


def chosen(
    tools: Sequence[Tool], choice: str | None, *, named: str | None, parallel: bool, field: str
) -> Tools | None:
    """Return the tools that a model may call; `None` if it may call none.

    Args:
        tools: all tools of the request.
        choice: `none`, `auto` or `required`; `None` stands for `auto`.
        named: the only tool that the model may call, and must.
        parallel: the model may call several tools at once.
        field: the field of the choice, for an error.

    Raises:
        InvalidRequest: There is no tool to choose, or two have the same name.
    """
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise InvalidRequest("no two tools may have the same name", field="tools")
    if named is not None and named not in names:
        raise InvalidRequest("names a tool that is not in `tools`", field=field)
    if choice == "required" and not tools:
        raise InvalidRequest("needs tools", field=field)
    if not tools or (choice == "none" and named is None):
        return None
    usable = tuple(tool for tool in tools if named in {None, tool.name})
    required = choice == "required" or named is not None
    return Tools(usable, required=required, parallel=parallel)


def said(text: str, calls: Sequence[Call]) -> str:
    """Return an earlier turn of the assistant that called tools, in the form that it has here."""
    form = {CALLS: [{"name": call.name, "arguments": call.arguments} for call in calls]}
    written = json.dumps(form, ensure_ascii=False)
    return f"{text}\n\n{written}" if text else written


def check_answered(*, is_last: bool, field: str) -> None:
    """Raise `InvalidRequest` if a chat ends with a call of a tool, which nobody has answered."""
    if is_last:
        raise InvalidRequest("must be followed by the results of its calls", field=field)


def result(name: str, text: str, *, failed: bool = False) -> str:
    """Return what a tool returned, as a turn."""
    what = "Error of" if failed else "Result of"
    return f"{what} {name or 'the tool'}:\n{text or '(nothing)'}"


def arguments_of(text: str, field: str) -> dict[str, Any]:
    """Return the arguments of an earlier call.

    Raises:
        InvalidRequest: They are no JSON object.
    """
    try:
        arguments = json.loads(text or "{}", object_pairs_hook=unique)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        message = "must be a JSON object, without a name that occurs twice"
        raise InvalidRequest(message, field=field)
    return arguments


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties),
        "additionalProperties": False,
    }  # fmt: skip


def _moved(schema: Any, place: str) -> Any:
    """Return a schema whose references to itself hold at another place of a document."""
    if isinstance(schema, list):
        return [_moved(part, place) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: place + value[1:]
        if key == "$ref" and isinstance(value, str) and value.startswith("#")
        else _moved(value, place)
        for key, value in schema.items()
        if key not in {"$schema", "$id"} or not isinstance(value, str)
    }


def _calls_in(said: dict[str, Any]) -> Sequence[Call]:
    listed = said.get(CALLS)
    if not isinstance(listed, list) or not all(map(_is_call, listed)):
        return ()
    return tuple(Call(call["name"], call["arguments"]) for call in listed)


def _is_call(call: Any) -> bool:
    named = isinstance(call, dict) and isinstance(call.get("name"), str)
    return named and isinstance(call.get("arguments"), dict)
