"""A language model as the router model: the probability of a yes."""

import pytest

from forebay.producers.client import Client
from forebay.routing.jobs import Job
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import Settings
from forebay.workers.cascade.router_models.llm_router_model import LlmRouterModel
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.settings import EngineSettings

pytestmark = pytest.mark.slow

PACKAGED = RouterModel.load()


@pytest.fixture(scope="module")
def model():
    engine = EchoEngine(EngineSettings(engine="echo"))
    yield LlmRouterModel(engine, PACKAGED)
    engine.close()


def chat(text):
    return Job(request={"kind": "generate", "messages": [{"role": "user", "content": text}]})


@pytest.mark.parametrize(("word", "probability"), [("yes", 0.8), ("no", 0.2)])
def test_the_verdict_is_the_probability_of_a_yes(model, word, probability):
    verdict = model.verdict(chat(f"how? [[echo: say={word}]] [[echo: confidence=0.8]]"))
    assert verdict.probability == pytest.approx(probability, abs=1e-5)
    assert verdict.score == pytest.approx(1 - probability, abs=1e-5)
    assert verdict.version == model.version != PACKAGED.version


def test_the_gap_of_a_jobs_type_moves_the_score(model):
    job = chat("how? [[echo: say=yes]] [[echo: confidence=0.8]]")
    usual = model.prior_gap("generate")
    moved = model.verdict(job, usual + 0.1).score - model.verdict(job).score
    assert moved == pytest.approx(0.1, abs=1e-5)


def test_a_text_that_talks_back_is_only_text(model):
    assert "canary" not in model.verdict(chat("{canary} {0} {kind}")).model_dump_json()


def test_the_packaged_model_gives_the_verdict_if_the_engine_cannot(model, monkeypatch):
    failing = chat("how? [[echo: fail]]")
    assert model.verdict(failing) == PACKAGED.verdict(failing)
    embed = Job(request={"kind": "embed", "texts": ["one"]})
    assert model.verdict(embed) == PACKAGED.verdict(embed)
    monkeypatch.setattr("forebay.workers.cascade.router_models.llm_router_model.WAIT_S", 0.01)
    slow = chat("how? [[echo: delay=0.2]]")
    assert model.verdict(slow) == PACKAGED.verdict(slow)


def test_a_router_asks_the_engine_if_the_setting_says_so(fleet):
    fleet.start_redis()
    fleet.start("router", FOREBAY_ROUTER_MODEL="engine", FOREBAY_ENGINE="echo")
    fleet.start("local", FOREBAY_ENGINE="echo")
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        asked = client.submit(chat("how? [[echo: say=yes]]").request, egress="allow")
        done = client.result(asked, timeout=30)
    assert done.verdict.version.startswith("lm-echo")
    assert done.verdict.probability == pytest.approx(0.9, abs=1e-5)
