"""The GPU benchmark, with the echo engine instead of a GPU: all of it runs except the model."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.engines.exllama import exl2, exl3
from forebay.workers.engines.gpu import probe
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings
from local.fleet import ROOT
from scripted import exl2_backend, exl3_backend
from tinymodel import write_folder

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / "tests" / "benchmarks"
PROGRAM = BENCHMARKS / "gpu.py"


@pytest.fixture(scope="module", autouse=True)
def found():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.pop(0)


@pytest.fixture(scope="module")
def gpuload():
    import gpuload  # noqa: PLC0415 - found by the path above

    return gpuload


@pytest.fixture(scope="module")
def baregpu():
    import baregpu  # noqa: PLC0415 - found by the path above

    return baregpu


@pytest.fixture(params=["exl2", "exl3"])
def card(request, tmp_path, monkeypatch):
    """Return settings of an engine that probes the GPU and then loads a scripted generator."""
    probes = []

    def probe_gpu(**_):
        probes.append(request.param)
        return probe.Attention("flash-attn", "2.8.3")

    def load(share, plan, folder):
        assert probes
        return {"exl2": exl2_backend, "exl3": exl3_backend}[request.param](folder, 64, 4)

    monkeypatch.setattr(probe, "require", probe_gpu)
    monkeypatch.setattr(exl3, "_require", probe_gpu)
    plain = SimpleNamespace(plan=lambda *_: None, memory=lambda _: None)
    for module in (exl2, exl3):
        monkeypatch.setattr(module, "Share", SimpleNamespace(of=lambda _: plain))
        monkeypatch.setattr(module, "encoder_if_installed", lambda: None)  # seconds
    monkeypatch.setattr({"exl2": exl2, "exl3": exl3}[request.param], "_load", load)
    folder = write_folder(tmp_path / "tiny")
    return EngineSettings(engine=request.param, model_dir=folder, slots=4, context_tokens=1024)


def program(*words):
    argv = [sys.executable, str(PROGRAM), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)


def test_fleet_and_generator_are_measured_side_by_side(tmp_path):
    out = tmp_path / "results.md"
    words = "--engine echo --echo-delay 0.002 --concurrency 1 2 --rounds 1 --tokens 8 --words 20"
    done = program(*words.split(), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_text().strip() == done.stdout.strip()
    rows = re.findall(
        r"^\| (\d+) \| (own|shared) \| [\d,]+ \| [\d,]+ \| ([\d.]+) \| [\d.]+ \|$",
        done.stdout,
        re.MULTILINE,
    )
    assert [row[:2] for row in rows] == [
        ("1", "own"),
        ("2", "own"),
        ("1", "shared"),
        ("2", "shared"),
    ]
    measured = re.findall(
        r"^(bare|fleet) (\d) (own|shared): ([\d]+) tokens", done.stderr, re.MULTILINE
    )
    assert [line[0] for line in measured] == ["bare"] * 4 + ["fleet"] * 4
    assert measured[0][3] == measured[4][3]  # the same work
    lowest = min(float(row[2]) for row in rows)
    assert f"Lowest ratio {lowest:.3f}" in done.stdout
    assert 0 < lowest < 2


def test_the_bare_generator_is_the_one_that_a_worker_drives(baregpu, gpuload, card):
    """It is loaded after the same checks, and given the same prompts to the same end."""
    load = gpuload.Load(concurrency=3, shared=False, rounds=2, words=12, tokens=60)
    rate = baregpu.measurer(card)(load)
    engine = make_engine(card)
    texts = [(Turn(role="user", content=text),) for text in load.prompts()]
    prompts = [Prompt(id=str(n), messages=turns, max_tokens=60) for n, turns in enumerate(texts)]
    tokens = [engine.submit(prompt).result(10).tokens_out for prompt in prompts]
    engine.close()
    assert rate.tokens == sum(tokens)
    assert rate.seconds > 0


def test_the_bare_generator_has_as_many_jobs_as_the_load_says(baregpu, gpuload, card, monkeypatch):
    engine = make_engine(card)
    monkeypatch.setattr(baregpu, "make_engine", lambda _: engine)
    baregpu.measurer(card)(gpuload.Load(3, True, 3, 12, 8))
    engine.close()
    assert engine.backend.generator.most == 3


def test_an_engine_that_needs_a_model_asks_for_it():
    done = program("--engine", "exl2")
    assert done.returncode == 2
    assert "a model is needed" in done.stderr


def test_fleet_and_generator_get_the_same_prompts_and_no_prompt_twice(gpuload):
    loads = [gpuload.Load(n, shared, 2, 40, 8) for n in (2, 4) for shared in (True, False)]
    prompts = [prompt for load in loads for prompt in load.prompts()]
    assert prompts == [prompt for load in loads for prompt in load.prompts()]
    assert len(set(prompts)) == len(prompts) == 24
    own, shared = loads[1].prompts(), loads[0].prompts()
    assert len({prompt[:100] for prompt in own}) == 4
    assert len({prompt[:100] for prompt in shared}) == 1


def test_a_warm_up_shares_no_prefix_with_the_measured_prompts(gpuload):
    """A prefix that is still in the cache would make the measurement faster."""
    warm, measured = gpuload.Load(4, False, 1, 40, 8), gpuload.Load(4, False, 3, 40, 8)
    begins = [{prompt[:40] for prompt in load.prompts()} for load in (warm, measured)]
    assert not begins[0] & begins[1]


def test_the_steady_rate_leaves_out_the_first_answers(gpuload):
    answers = [(5.0, 10), (6.0, 10), (8.0, 20), (7.0, 20)]
    measured = gpuload.rate(0.0, answers, 2)
    assert (measured.tokens, measured.seconds, measured.steady) == (60, 8.0, 20.0)


def test_an_error_of_one_job_ends_the_measurement(gpuload):
    def ask(_):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        gpuload.offer(gpuload.Load(3, False, 2, 8, 8), ask)
