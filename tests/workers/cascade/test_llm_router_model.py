"""A language model as the router model: one yes or no, by its likelihood."""

import pytest

from forebay.producers.client import Client
from forebay.routing.jobs import Job
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import Settings
from forebay.workers.cascade.llm_router_model import LlmRouterModel
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.settings import EngineSettings

PACKAGED = RouterModel.load()


@pytest.fixture(scope="module")
def judge():
    engine = EchoEngine(EngineSettings(engine="echo"))
    yield LlmRouterModel(engine, PACKAGED)
    engine.close()


def chat(text):
    return Job(request={"kind": "generate", "messages": [{"role": "user", "content": text}]})


@pytest.mark.parametrize(("said", "chance"), [("yes", 0.8), ("no", 0.2)])
def test_the_verdict_is_the_chance_of_a_yes(judge, said, chance):
    verdict = judge.verdict(chat(f"how? [[echo: say={said}]] [[echo: confidence=0.8]]"))
    assert verdict.probability == pytest.approx(chance, abs=1e-5)
    assert verdict.score == pytest.approx(1 - chance, abs=1e-5)
    assert verdict.version == judge.version != PACKAGED.version


def test_what_was_seen_of_a_type_moves_the_score(judge):
    job = chat("how? [[echo: say=yes]] [[echo: confidence=0.8]]")
    usual = judge.prior_gap("generate")
    moved = judge.verdict(job, usual + 0.1).score - judge.verdict(job).score
    assert moved == pytest.approx(0.1, abs=1e-5)


def test_a_text_that_talks_back_is_only_text(judge):
    assert "canary" not in judge.verdict(chat("{canary} {0} {kind}")).model_dump_json()


def test_where_the_engine_has_no_word_the_packaged_model_has(judge, monkeypatch):
    failing = chat("how? [[echo: fail]]")
    assert judge.verdict(failing) == PACKAGED.verdict(failing)
    embed = Job(request={"kind": "embed", "texts": ["one"]})
    assert judge.verdict(embed) == PACKAGED.verdict(embed)
    monkeypatch.setattr("forebay.workers.cascade.llm_router_model.WAIT_S", 0.01)
    slow = chat("how? [[echo: delay=0.2]]")
    assert judge.verdict(slow) == PACKAGED.verdict(slow)


def test_a_router_asks_the_engine_where_the_setting_says_so(fleet):
    fleet.start_redis()
    fleet.start("router", FOREBAY_ROUTER_MODEL="engine", FOREBAY_ENGINE="echo")
    fleet.start("local", FOREBAY_ENGINE="echo")
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        done = client.result(client.submit(chat("how? [[echo: say=no]]").request), timeout=30)
    assert done.verdict.version.startswith("lm-echo")
    assert done.verdict.probability == pytest.approx(0.1, abs=1e-5)
