"""Tools that the packaged model is asked to call: its grammar sees to it that the call fits."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from forebay.producers.gateway.asking.chats import Chat, jobs, reply_of
from forebay.producers.gateway.asking.model_names import Target
from forebay.producers.gateway.asking.tools import Tool, Tools
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"$ref": "#/$defs/unit"}},
    "required": ["city", "unit"],
    "additionalProperties": False,
    "$defs": {"unit": {"enum": ["celsius", "fahrenheit"]}},
}
TOOLS = (Tool("get_weather", "Returns the weather of a city.", SCHEMA), Tool("get_time"))


@pytest.fixture(scope="module")
def answerer():
    answerer = Answerer(make_engine(EngineSettings(engine="llamacpp")))
    yield answerer
    answerer.close()


@pytest.mark.parametrize("required", [True, False])
def test_the_model_answers_in_the_form_of_its_tools(answerer, required):
    tools = Tools(TOOLS, required=required, parallel=False)
    messages = [("user", "What is the weather in Oslo, in celsius?")]
    chat = Chat(messages, max_tokens=120, tools=tools)
    (job,) = jobs(chat, Target(), None, {}, "acme")
    content = answerer.begin(job, "tools")().content
    text, calls = reply_of(content, tools)
    assert jsonschema_rs.is_valid(tools.schema(None), json.loads(content.text))
    assert calls or (text and not required)
    for call in calls:
        assert call.name in {"get_weather", "get_time"}
        if call.name == "get_weather":
            assert jsonschema_rs.is_valid(SCHEMA, call.arguments)
