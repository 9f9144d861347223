"""Each model of the price list is called with every option, and rejects none of the parameters.

The mock has its own table of what each model takes, so a wrong entry of either shows.
"""

from __future__ import annotations

import json

import pytest

from forebay.routing.limits.prices import Prices
from forebay.routing.policy.tables import ServiceTiers
from forebay.workers.engines.engine import JsonSchema, Prompt, Turn
from forebay.workers.frontier.bedrock.converse import Converse
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.frontier.terms import Terms

pytestmark = pytest.mark.slow

PRICES = Prices.packaged()
MODELS = [model for model in PRICES.models if "embed" not in model]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
EVERY_EFFORT = ("", "low", "medium", "high", "xhigh", "max")


@pytest.fixture
def converse(mock):
    return Converse(BedrockSettings(bedrock_endpoint=mock.url, bedrock_timeout_s=5))


def prompt(**options):
    turns = (
        Turn(role="system", content="Answer in one word. " * 900),
        Turn(role="user", content="Is it so?"),
    )
    return Prompt(id="p", messages=turns, **{"max_tokens": 100, **options})


def terms(model, **options):
    return Terms(base=model, can=PRICES.capabilities(model), **options)


@pytest.mark.parametrize("model", MODELS)
def test_no_parameter_is_sent_that_the_model_rejects(converse, model):
    odd = {"temperature": 0.7, "top_p": 0.9, "stop": ("END", "\n", "STOP")}
    schema = JsonSchema(schema_=SCHEMA)
    for effort in EVERY_EFFORT:
        whole = prompt(max_tokens=1_000_000, constraint=schema, **odd)
        converse.call(whole, model, call_id="c", terms=terms(model, effort=effort))
    caches = PRICES.capabilities(model).cache_from is not None
    converse.call(prompt(), model, call_id="c", terms=terms(model, caches=caches))


@pytest.mark.parametrize("model", MODELS)
def test_each_tier_that_has_a_price_is_offered(converse, model):
    for tier in ServiceTiers.model_fields["bulk"].annotation.__args__:
        if PRICES.offers(model, tier):
            assert converse.call(prompt(), model, call_id="c", terms=terms(model, tier=tier)).tier


@pytest.mark.parametrize("model", MODELS)
def test_everything_that_the_model_offers_is_used(converse, mock, model):
    can = PRICES.capabilities(model)
    constrained = prompt(constraint=JsonSchema(schema_=SCHEMA), stop=("END",), temperature=0.5)
    for effort in can.efforts or ("",):
        converse.call(constrained, model, call_id="c", terms=terms(model, effort=effort))
        body = json.loads(mock.calls[-1].text)
        assert body.get("outputConfig", {}).get("effort", "") == effort
        assert ("textFormat" in body.get("outputConfig", {})) == can.structured_output
        assert ("stopSequences" in body["inferenceConfig"]) == can.stops
        assert ("temperature" in body["inferenceConfig"]) == can.temperature
        assert (body["inferenceConfig"]["maxTokens"] > 100) == can.reasons, "room to reason"


@pytest.mark.parametrize("model", MODELS)
def test_tokens_are_counted_for_the_models_that_say_so(converse, model):
    if PRICES.capabilities(model).counts_tokens:
        assert converse.count(prompt(), f"eu.{model}", terms(f"eu.{model}")) > 1_000


@pytest.mark.parametrize("model", MODELS)
def test_the_table_says_what_each_model_has_room_for(model):
    can = PRICES.capabilities(model)
    assert can.context is not None
    assert can.max_output is not None
    assert can.max_output < can.context
    assert can.cache_from is None or PRICES.caching_pays(model)


def test_a_model_that_takes_no_stops_has_its_text_cut_at_them(converse, mock, monkeypatch):
    texts = []
    monkeypatch.setattr(mock.references, "answer", lambda *_: "one two END three")
    stopped = prompt(stop=("END",))
    for model in ("openai.gpt-oss-20b-1:0", "amazon.nova-lite-v1:0"):
        reply = converse.call(stopped, model, call_id="c", terms=terms(model), on_text=texts.append)
        assert (reply.text, reply.finish) == ("one two ", "stop")
    assert "END" not in "".join(texts)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("model", "named"),
    [("anthropic.claude-haiku-5-5", "END"), ("openai.gpt-oss-20b-1:0", "END"),
     ("amazon.nova-lite-v1:0", None)],
)  # fmt: skip
def test_a_reply_names_the_stop_string_that_ended_it(
    converse, mock, monkeypatch, model, named, streamed
):
    monkeypatch.setattr(mock.references, "answer", lambda *_: "one two END three")
    on_text = (lambda _: None) if streamed else None
    for stops, expected in ((("three", "END"), named), (("nowhere",), None)):
        stopped = prompt(stop=stops)
        reply = converse.call(stopped, model, call_id="c", terms=terms(model), on_text=on_text)
        assert reply.stop_sequence == expected


@pytest.mark.parametrize("streamed", [False, True])
def test_the_only_stop_string_is_the_one_that_ended_a_reply(converse, mock, monkeypatch, streamed):
    monkeypatch.setattr(mock.references, "answer", lambda *_: "one two END three")
    on_text = (lambda _: None) if streamed else None
    model = "amazon.nova-lite-v1:0"  # names none
    for stops, expected in ((("END", "END"), "END"), (("\n", "END"), "END"), (("no",), None)):
        stopped = prompt(stop=stops)
        reply = converse.call(stopped, model, call_id="c", terms=terms(model), on_text=on_text)
        assert reply.stop_sequence == expected
