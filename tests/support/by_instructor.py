"""Ask the gateway by instructor, as its tutorials do; print what came back as JSON.

It runs in an environment of its own: instructor needs an older release of OpenAI's client.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable

import instructor
import openai
from pydantic import BaseModel, Field, field_validator

ASK = [{"role": "user", "content": "Ada is 36 years old."}]
#: An answer of the echo engine that mends the first one, which the validator refuses.
MENDED = '{"name": "ADA", "age": 36}'


class Person(BaseModel):
    """Somebody that a text is about."""

    name: str = Field(description="the name")
    age: int = Field(ge=0)


class Mended(Person):
    """Somebody whose name is in upper case."""

    @field_validator("name")
    @classmethod
    def _upper(cls, name: str) -> str:
        if name != "ADA":
            raise ValueError(f"must be ADA [[echo: say={_answer(cls.__name__)}]]")
        return name


def _answer(name: str) -> str:
    if MODE[0] in TOOLS:
        return json.dumps({"tool_calls": [{"name": name, "arguments": json.loads(MENDED)}]})
    return MENDED


class City(BaseModel):
    """A town to look up."""

    town: str


TOOLS = (instructor.Mode.TOOLS, instructor.Mode.PARALLEL_TOOLS)
MODES = {
    "tools": instructor.Mode.TOOLS,
    "json": instructor.Mode.JSON,
    "json_schema": instructor.Mode.JSON_SCHEMA,
    "md_json": instructor.Mode.MD_JSON,
}
MODE = [instructor.Mode.TOOLS]


def told_to(say: str) -> list[dict[str, str]]:
    """Return a chat that the echo engine answers with these words."""
    return [{"role": "user", "content": f"[[echo: say={say}]] {ASK[0]['content']}"}]


def asked(mode: instructor.Mode) -> dict[str, object]:
    """Return what one mode brings, by the name of what is asked."""
    MODE[0] = mode
    client = instructor.from_openai(openai.OpenAI(max_retries=0), mode=mode)
    found: dict[str, object] = {}
    ask = {"model": "auto", "max_retries": 2}
    one = client.chat.completions.create(
        response_model=Person, messages=told_to(_ada("Person")), **ask
    )
    found["one"] = one.model_dump()
    mended, raw = client.chat.completions.create_with_completion(
        response_model=Mended, messages=told_to(_ada("Mended")), **ask
    )
    found["mended"] = [mended.name, raw.forebay["lane"]]
    *_, last = client.chat.completions.create_partial(
        response_model=Person, messages=told_to(_ada("PartialPerson")), **ask
    )
    found["partial"] = last.model_dump()
    return found


def _ada(name: str) -> str:
    return _answer(name).replace("ADA", "Ada")


def iterated() -> list[object]:
    """Return the items of an iterable, by tools."""
    client = instructor.from_openai(openai.OpenAI(max_retries=0))
    people = {"tasks": [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 3}]}
    say = json.dumps({"tool_calls": [{"name": "IterablePerson", "arguments": people}]})
    found = client.chat.completions.create_iterable(
        model="auto", response_model=Person, messages=told_to(say)
    )
    return [person.name for person in found]


def parallel() -> list[str]:
    """Return the names of the tools that were called at once."""
    client = instructor.from_openai(
        openai.OpenAI(max_retries=0), mode=instructor.Mode.PARALLEL_TOOLS
    )
    calls = [
        {"name": "Person", "arguments": {"name": "Ada", "age": 36}},
        {"name": "City", "arguments": {"town": "London"}},
    ]
    say = json.dumps({"tool_calls": calls})
    found = client.chat.completions.create(
        model="auto", response_model=Iterable[Person | City], messages=told_to(say)
    )
    return [type(item).__name__ for item in found]


async def by_async() -> list[object]:
    """Return what an asynchronous client gets, whole and in parts."""
    client = instructor.from_openai(openai.AsyncOpenAI(max_retries=0))
    ask = {"model": "auto", "response_model": Person, "messages": ASK}
    whole = await client.chat.completions.create(**ask)
    parts = [part async for part in client.chat.completions.create_partial(**ask)]
    return [type(whole).__name__, parts[-1].model_dump() == whole.model_dump()]


def main() -> None:
    """Print what came back, or the error of each part."""
    told: dict[str, object] = {}
    parts = {name: lambda mode=mode: asked(mode) for name, mode in MODES.items()}
    parts |= {"iterable": iterated, "parallel": parallel, "async": lambda: asyncio.run(by_async())}
    for name, part in parts.items():
        try:
            told[name] = part()
        except Exception as error:  # noqa: BLE001 - the test shows which part broke, and how
            told[name] = f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
