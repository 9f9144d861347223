"""What the gateway asks of the packaged model: calls of tools, probabilities, cached prompts."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from forebay.producers.gateway.asking.chats import Chat, jobs, reply_of
from forebay.producers.gateway.asking.model_names import Target
from forebay.producers.gateway.asking.tools import Tool, Tools
from forebay.producers.gateway.openai.replies import usage
from forebay.routing.jobs import Answer
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


def test_the_model_tells_the_probabilities_of_its_tokens(answerer):
    chat = Chat([("user", "Name a colour.")], max_tokens=12, logprobs=2)
    (job,) = jobs(chat, Target(), None, {}, "acme")
    content = answerer.begin(job, "logprobs")().content
    assert "".join(token.token for token in content.logprobs).strip() == content.text
    for token in content.logprobs:
        assert token.logprob <= 0
        assert len(token.top) == 2
        assert token.top[0][1] >= token.top[1][1]


def test_the_tokens_of_a_prompt_that_was_read_before_count_as_cached(answerer):
    prompt = " ".join(f"Stone {number} is round." for number in range(20))
    (job,) = jobs(Chat([("user", prompt)], max_tokens=1), Target(), None, {}, "acme")
    first, again = (answerer.begin(job, f"cached-{number}")() for number in range(2))
    assert first.tokens_in == again.tokens_in
    assert 0 <= first.tokens_cached < 40 < again.tokens_cached < again.tokens_in
    heading = {"id": job.id, "kind": job.kind, "egress": "deny", "status": "done"}
    counts = {"tokens_in": again.tokens_in, "tokens_cached": again.tokens_cached}
    told = usage([Answer(**heading, **counts, content=again.content)])
    assert told["prompt_tokens_details"]["cached_tokens"] == again.tokens_cached
