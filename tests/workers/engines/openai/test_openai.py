"""The engine `openai` in front of servers that ignore, refuse, redirect, break or change."""

import json
import logging

import pytest
from jsonschema import Draft202012Validator

from forebay.routing.errors import EngineBusy, EngineDied, InvalidJob, Misconfigured, Unavailable
from forebay.workers.commands import doctor
from forebay.workers.engines.engine import Choice, JsonSchema, Pattern, Prompt, Turn
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings
from model_proxy import ModelProxy
from model_server import model_server, shared_server

pytestmark = pytest.mark.slow

CONTEXT = 256
KEY = "sk-kingfisher"
INVOICE = {
    "type": "object",
    "properties": {"number": {"type": "integer", "minimum": 1}},
    "required": ["number"],
    "additionalProperties": False,
}


@pytest.fixture
def proxy():
    server = ModelProxy(shared_server(CONTEXT, 4))
    yield server
    server.shutdown()
    server.server_close()


def settings(proxy, **more):
    return EngineSettings(engine="openai", slots=2, openai_url=proxy.url, **more)


@pytest.fixture
def opened(proxy):
    engines = []

    def open_(**more):
        engines.append(make_engine(settings(proxy, **more)))
        return engines[-1]

    yield open_
    for engine in engines:
        engine.close()


def prompt(text, **changes):
    fields = {"id": text, "max_tokens": 20, **changes}
    return Prompt(messages=(Turn(role="user", content=text),), **fields)


def ask(engine, *args, **changes):
    return engine.submit(prompt(*args, **changes)).result(60)


def test_a_server_without_grammars_enforces_the_schema_that_stands_for_them(proxy, opened):
    proxy.drop = {"grammar"}
    engine = opened()
    choice = Choice(options=("red", "dark red", "blue"))
    assert ask(engine, "Choose.", constraint=choice).text in choice.options
    scored = ask(engine, "Choose again.", constraint=choice, score_options=True)
    assert scored.text == max(scored.option_logprobs, key=scored.option_logprobs.get)
    answer = ask(engine, "Invoice 33.", constraint=JsonSchema(schema_=INVOICE))
    Draft202012Validator(INVOICE).validate(json.loads(answer.text))
    code = ask(engine, "A code.", constraint=Pattern(regex="[A-Z]{3}-[0-9]{2}"))
    assert len(code.text) == 6


def test_a_server_that_ignores_constraints_is_never_trusted_with_one(proxy, opened):
    proxy.drop = {"grammar", "response_format"}
    engine = opened()
    for constraint in (Choice(options=("a",)), JsonSchema(schema_=INVOICE), Pattern(regex="a")):
        with pytest.raises(InvalidJob, match="does not enforce"):
            ask(engine, constraint.type, constraint=constraint)
    assert ask(engine, "Hello.").text
    assert engine.info().classify == "similarity"


def test_a_server_that_stops_enforcing_is_noticed(proxy, opened):
    engine = opened()
    proxy.drop = {"grammar", "response_format"}
    with pytest.raises(InvalidJob, match="does not enforce"):
        ask(engine, "Choose.", constraint=Choice(options=("red", "blue")))
    assert ask(engine, "Hello.").text


def test_a_server_without_probabilities_answers_without(proxy, opened):
    proxy.drop = {"logprobs", "top_logprobs"}
    engine = opened()
    assert not engine.info().logprobs
    assert ask(engine, "Hello.").low_logprob is None
    with pytest.raises(InvalidJob) as caught:
        ask(engine, "Choose.", constraint=Choice(options=("a", "b")), score_options=True)
    assert caught.value.field == "labels"


@pytest.mark.parametrize("by_file", [True, False])
def test_the_key_reaches_the_server_and_nothing_else(
    proxy, tmp_path, caplog, capfd, monkeypatch, by_file
):
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    chosen = settings(proxy, **({"openai_key_file": file} if by_file else {"openai_key": KEY}))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nothing listens there
    engine = open_engine(chosen)
    assert ask(engine, "Hello.").text
    engine.close()
    assert {headers["authorization"] for _, headers, _ in proxy.requests} == {f"Bearer {KEY}"}
    assert KEY not in "".join([*capfd.readouterr(), caplog.text, repr(chosen), str(chosen)])


def test_a_key_that_the_server_refuses_is_named():
    with model_server(CONTEXT, 1, key="another") as url:
        for key in (None, KEY):
            with pytest.raises(Misconfigured) as caught:
                make_engine(EngineSettings(engine="openai", openai_url=url, openai_key=key))
            assert caught.value.field == "FOREBAY_OPENAI_KEY_FILE"
            assert KEY not in str(caught.value)


@pytest.mark.parametrize("text", ["", "two\nlines", "ümlaut"])
def test_a_file_without_a_key_is_refused(proxy, tmp_path, text):
    file = tmp_path / "key"
    file.write_text(text)
    for more in ({}, {"openai_key": KEY}):
        with pytest.raises(Misconfigured) as caught:
            make_engine(settings(proxy, openai_key_file=file, **more))
        assert caught.value.field == "FOREBAY_OPENAI_KEY_FILE"
    assert not proxy.requests


def test_a_redirect_is_not_followed_at_the_start_or_later(proxy, opened):
    elsewhere = ModelProxy(proxy.upstream)
    engine = opened()
    proxy.status, proxy.location = 307, f"{elsewhere.url}/chat/completions"
    with pytest.raises(EngineDied):
        ask(engine, "Hello.")
    with pytest.raises(Misconfigured, match="redirects"):
        opened()
    assert not elsewhere.requests
    elsewhere.shutdown()
    elsewhere.server_close()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_or_fails_once_is_asked_again_later(proxy, opened, status):
    engine = opened()
    proxy.status = status
    with pytest.raises(EngineBusy):
        ask(engine, "Hello.")
    with pytest.raises(Unavailable):
        opened()
    proxy.status = None
    assert ask(engine, "Hello.").text


def test_a_request_that_the_server_refuses_is_invalid_without_its_words(proxy, opened):
    engine = opened()
    proxy.status = 400
    with pytest.raises(InvalidJob) as caught:
        ask(engine, "zebrafinch")
    assert "zebrafinch" not in str(caught.value)


def test_half_an_answer_or_a_server_that_is_gone_breaks_the_engine(proxy, opened):
    first, second = opened(), opened()
    proxy.cut_after = 500
    with pytest.raises(EngineDied):
        ask(first, "Tell me about the sea.")
    proxy.shutdown()
    proxy.server_close()
    with pytest.raises(EngineDied):
        ask(second, "Hello.")
    with pytest.raises(Unavailable):
        opened()


def test_an_answer_of_another_model_than_at_the_start_is_not_passed_on(proxy, opened):
    engine = opened()
    proxy.rename = "another"
    with pytest.raises(EngineDied):
        ask(engine, "Hello.")


def test_a_model_that_the_server_has_not_is_named_with_those_that_it_has(proxy):
    with pytest.raises(Misconfigured) as caught:
        make_engine(settings(proxy, openai_model="gpt-0"))
    assert caught.value.field == "FOREBAY_OPENAI_MODEL"
    assert "SmolLM2" in caught.value.message


def test_the_doctor_asks_the_server_for_its_model_and_sends_it_nothing(proxy, monkeypatch):
    monkeypatch.setenv("FOREBAY_ENGINE", "openai")
    monkeypatch.setenv("FOREBAY_OPENAI_URL", proxy.url)
    [finding] = doctor.model()
    assert finding.state == "ok"
    assert "SmolLM2" in finding.seen
    assert [body for _, _, body in proxy.requests] == [None]
    monkeypatch.setenv("FOREBAY_OPENAI_URL", "http://8.8.8.8/v1")
    [finding] = doctor.model()
    assert (finding.state, "not private" in finding.seen) == ("fail", True)
