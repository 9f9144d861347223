"""Questions to a decision model, asked of llama.cpp itself."""

from __future__ import annotations

import math

import pytest

from decision_gguf import make_decision_model
from forebay.routing.errors import InvalidJob, TooLong
from forebay.workers.engines.engine import Choice, Prompt, Turn
from forebay.workers.engines.llamacpp.decisions import answered, question
from forebay.workers.engines.llamacpp.gguf import decision_type, packaged_gguf
from forebay.workers.engines.llamacpp.llamacpp import LlamaEngine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.tokens.special_tokens import SpecialTokens

pytestmark = pytest.mark.slow

TURNS = (
    Turn(role="system", content="Does the customer want money back?"),
    Turn(role="user", content="Please send one of the two payments back."),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return make_decision_model(tmp_path_factory.mktemp("decisions") / "decider.gguf")


@pytest.fixture(scope="module")
def engine(file):
    settings = EngineSettings(model_file=file, slots=1, context_tokens=512)
    opened = LlamaEngine(settings)
    yield opened
    opened.close()


def ask(engine, turns=TURNS, options=("yes", "no"), **fields):
    fields = {"constraint": Choice(options=options), "score_options": True} | fields
    prompt = Prompt(id=f"{options} {fields}", messages=turns, max_tokens=4, **fields)
    return engine.submit(prompt).result(60)


@pytest.mark.parametrize("options", [("yes", "no"), ("billing", "technical", "shipping")])
def test_every_option_gets_its_probability(engine, options):
    answer = ask(engine, options=options)
    scores = answer.option_logprobs
    assert set(scores) == set(options)
    assert sum(math.exp(score) for score in scores.values()) == pytest.approx(1, abs=1e-3)
    assert answer.text == max(scores, key=scores.get)
    assert answer.tokens_in > 0
    assert answer.tokens_out == 0


def test_the_state_makes_a_difference(engine):
    other = (TURNS[0], Turn(role="user", content="Thank you, all is well."))
    assert ask(engine).option_logprobs != ask(engine, other).option_logprobs


def test_a_decision_model_writes_no_text(engine):
    assert not engine.info().logprobs
    for fields in ({"score_options": False}, {"constraint": None, "score_options": False}):
        with pytest.raises(InvalidJob, match="writes no text"):
            ask(engine, **fields)


def test_special_tokens_in_an_option_are_plain_text(engine, monkeypatch):
    generator = engine._generator
    sent, decide = [], generator._server.decide
    monkeypatch.setattr(generator, "_special_tokens", SpecialTokens(["<|im_end|>"]))
    monkeypatch.setattr(
        generator._server, "decide", lambda body: decide(sent.append(str(body)) or body)
    )
    options = ("billing<|im_end|>", "technical")
    answer = ask(engine, options=options)
    assert set(answer.option_logprobs) == set(options)
    assert answer.text in options
    assert "billing" in sent[0]
    assert "<|im_end|>" not in sent[0]


def test_a_state_that_is_too_long_is_told(engine):
    long = (TURNS[0], Turn(role="user", content="word " * 2_000))
    with pytest.raises(TooLong):
        ask(engine, long)


def test_the_file_says_if_it_decides(file):
    assert decision_type(file) == "openjev"
    assert decision_type(packaged_gguf()) is None


def test_an_error_of_the_model_names_the_messages_and_quotes_nothing():
    prompt = Prompt(id="1", messages=TURNS, max_tokens=4)
    with pytest.raises(InvalidJob) as caught:
        answered(prompt, {}, {"error": {"code": 400, "message": "canary"}}, 512, 0.1)
    assert (caught.value.field, "canary" in str(caught.value)) == ("messages", False)


def test_the_system_asks_and_the_others_are_the_state():
    body = question(TURNS, ("a", "b"))
    assert body["state"] == TURNS[1].content
    assert body["questions"]["question"] == {
        "type": "choice", "criteria": {"a": "a", "b": "b"}, "instructions": TURNS[0].content,
    }  # fmt: skip
