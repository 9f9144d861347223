"""A decision model as the router's small model: its verdicts, and the packaged model beside it."""

from __future__ import annotations

import logging
import threading

import pytest

from decision_gguf import make_decision_model
from forebay.producers.client import Client
from forebay.routing.jobs import Job
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import Settings, read
from forebay.workers.cascade.router_models import decision_router_model
from forebay.workers.cascade.router_models.decision_router_model import (
    DecisionRouterModel,
    open_decisions,
)
from forebay.workers.commands.doctor_router import decision_model
from forebay.workers.engines.llamacpp.gguf import packaged_gguf
from forebay.workers.engines.settings import EngineSettings, RouterSettings
from patience import until

pytestmark = pytest.mark.slow

PACKAGED = RouterModel.load()
JOB = Job(request={"kind": "generate", "messages": [{"role": "user", "content": "Prove it."}]})


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return make_decision_model(tmp_path_factory.mktemp("decisions") / "decider.gguf")


@pytest.fixture
def model(file):
    opened = DecisionRouterModel(file, PACKAGED, EngineSettings())
    yield opened
    opened.close()


def test_the_packaged_model_decides_until_the_other_is_loaded(model):
    assert model.verdict(JOB) == PACKAGED.verdict(JOB)
    until(lambda: model.version.startswith("decision-decider-"), within_s=60)
    verdict = model.verdict(JOB)
    assert verdict.version == model.version
    assert verdict.score == pytest.approx(1 - verdict.probability, abs=1e-5)
    usual = model.prior_gap("generate")
    assert model.verdict(JOB, usual + 0.1).score == pytest.approx(verdict.score + 0.1, abs=1e-5)
    embed = Job(request={"kind": "embed", "texts": ["one"]})
    assert model.verdict(embed) == PACKAGED.verdict(embed)


def test_a_model_that_is_too_slow_rests(model, monkeypatch):
    until(lambda: model.version != PACKAGED.version, within_s=60)
    monkeypatch.setattr("forebay.workers.cascade.router_models.llm_router_model.WAIT_S", 0.0001)
    assert model.verdict(JOB) == PACKAGED.verdict(JOB)
    monkeypatch.undo()
    assert model.verdict(JOB) == PACKAGED.verdict(JOB)
    monkeypatch.setattr("forebay.workers.cascade.router_models.llm_router_model.REST_S", 0.0)
    model._model._rests_until = 0.0
    assert model.verdict(JOB).version == model.version


def test_a_file_that_cannot_be_loaded_leaves_the_packaged_model(tmp_path, caplog, monkeypatch):
    tried = threading.Semaphore(0)

    def opening(*args):
        tried.release()
        return open_decisions(*args)

    monkeypatch.setattr(decision_router_model, "open_decisions", opening)
    monkeypatch.setattr(decision_router_model, "RETRY_S", 0.05)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with caplog.at_level(logging.WARNING):
        model = DecisionRouterModel(broken, PACKAGED, EngineSettings())
        for _ in range(2):
            assert tried.acquire(timeout=60)
        assert model.verdict(JOB) == PACKAGED.verdict(JOB)
        model.close()
        until(lambda: not model._thread.is_alive(), within_s=30)
    assert "FOREBAY_ROUTER_DECISION_MODEL" in caplog.text


def test_a_router_asks_the_decision_model(fleet, file, monkeypatch, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text("[defaults.thresholds]\ngenerate = 0.0\n")  # whatever it says, jobs stay
    fleet.start_redis()
    asked = {"FOREBAY_ROUTER_DECISION_MODEL": str(file), "FOREBAY_POLICY_FILE": str(policy)}
    fleet.start("router", **asked)
    fleet.start("local", FOREBAY_ENGINE="echo")
    with Client(settings=Settings(redis_url=fleet.url)) as client:

        def version():
            done = client.run(JOB.request, egress="allow", timeout=30)
            return done.verdict.version if done.verdict.version != PACKAGED.version else None

        assert until(version, within_s=60).startswith("decision-decider-")
    monkeypatch.setenv("FOREBAY_REDIS_URL", fleet.url)
    monkeypatch.setenv("FOREBAY_ROUTER_DECISION_MODEL", str(file))
    until(lambda: [finding.state for finding in decision_model()] == ["ok"], within_s=10)
    monkeypatch.setenv("FOREBAY_ROUTER_DECISION_MODEL", str(packaged_gguf()))
    states = [(finding.state, finding.seen) for finding in decision_model()]
    assert states[0][1].endswith("a language model: yes and no are scored")
    assert states[1][0] == "warn"


def test_the_doctor_names_a_file_that_is_not_there(monkeypatch, tmp_path):
    assert list(decision_model()) == []
    monkeypatch.setenv("FOREBAY_ROUTER_DECISION_MODEL", str(tmp_path / "none.gguf"))
    (finding,) = decision_model()
    assert finding.state == "fail"
    assert "none.gguf" in finding.seen


def test_two_models_in_the_place_of_one_are_refused(monkeypatch):
    monkeypatch.setenv("FOREBAY_ROUTER_DECISION_MODEL", "decider.gguf")
    monkeypatch.setenv("FOREBAY_ROUTER_MODEL", "engine")
    with pytest.raises(Exception, match="FOREBAY_ROUTER_DECISION_MODEL"):
        read(RouterSettings)
