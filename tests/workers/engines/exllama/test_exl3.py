"""Exl3 starts on its plan; the generator beneath it follows a script."""

from __future__ import annotations

import json
import logging
import sys
import types

import numpy as np
import pytest

from checkpoint import write_exl3
from exllama import PAGE, Exl3Generator, Exl3Job, Exl3Sampler
from fake_cuda import Cuda
from forebay.routing.errors import EngineUnavailable, Misconfigured
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.engines.exllama import exl3
from forebay.workers.engines.gpu import prebuilt
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.vram import planner
from forebay.workers.engines.weights.model_shape import read_shape
from library_sources import Exl3Filter
from tinymodel import Rule, write_folder

SMALL = (2, 128, 256, 4, 2, 32, 420)


@pytest.fixture
def folder(tmp_path):
    return write_exl3(write_folder(tmp_path / "tiny"), SMALL, 4)


@pytest.fixture
def library(monkeypatch, folder):
    """`torch` and `exllamav3`, as far as the engine calls them; returns what it asked for."""
    made = {"cuda": Cuda(), "prompts": []}

    class Generator(Exl3Generator):
        def __init__(self, *, model, cache, tokenizer, max_batch_size, max_chunk_size):
            made.update(batch=max_batch_size, chunk=max_chunk_size, generator=self)
            super().__init__(Rule(folder), cache["max_num_tokens"] // PAGE, max_batch_size)

        def enqueue(self, job):
            made["prompts"].append(len(job.prompt))
            super().enqueue(job)

        def iterate(self):
            if made.get("breaks"):
                raise Cuda.OutOfMemoryError
            made["cuda"].reserved = made.get("takes", 0)
            return super().iterate()

    def load(**more):
        made.update(more)

    def cache(model, **more):
        made["cache"] = more
        return more

    torch = types.SimpleNamespace(
        cuda=made["cuda"], long="long", from_numpy=np.asarray,
        tensor=lambda rows, dtype: np.array(rows),
    )  # fmt: skip
    ours = types.SimpleNamespace(
        Job=Exl3Job, ComboSampler=Exl3Sampler, Filter=Exl3Filter, Generator=Generator, Cache=cache,
        CacheLayer_fp16="fp16", CacheLayer_quant="quant",
        Config=types.SimpleNamespace(from_directory=lambda place: place),
        Model=types.SimpleNamespace(from_config=lambda config: types.SimpleNamespace(load=load)),
        Tokenizer=types.SimpleNamespace(from_config=lambda config: config),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "exllamav3", ours)
    monkeypatch.setattr(exl3, "_require", lambda: None)
    monkeypatch.setattr(exl3, "_array", np.asarray)
    monkeypatch.setattr(exl3, "encoder_if_installed", lambda: None)  # takes seconds
    return made


def settings(folder, **more):
    fields = {"slots": 3, "context_tokens": 4096, **more}
    return EngineSettings(engine="exl3", model_dir=folder, **fields)


def planned(folder, **more):
    shape = read_shape(folder, "exl3")
    return planner.plan(shape, 16_380 << 20, context=4096, batch=3, **more)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("fp16", {"layer_type": "fp16"}),
        ("q6", {"layer_type": "quant", "k_bits": 8, "v_bits": 4}),
    ],
)
def test_the_cache_and_the_batch_are_the_plans_and_it_answers(library, folder, mode, kind):
    engine = exl3.Exl3Engine(settings(folder, cache_mode=mode))
    try:
        prompt = Prompt(id="one", messages=(Turn(role="user", content="hello"),), max_tokens=16)
        assert engine.submit(prompt).result(20).text.startswith("Well, the sea")
    finally:
        engine.close()
    tokens = planned(folder, cache_mode=mode).cache_tokens
    assert tokens == 2 * 3 * (4096 + PAGE)
    assert library["cache"] == {"max_num_tokens": tokens, "max_batch_size": 3, **kind}
    assert (library["batch"], library["device"]) == (3, "cuda:0")
    assert library["prompts"][0] == 4096 - 32  # the warm-up, as long as a job may be


def test_memory_after_the_warm_up_is_compared_with_the_plan(library, folder, caplog):
    plan = planned(folder)
    caplog.set_level(logging.INFO)
    right = (plan.expected_bytes - plan.parts["CUDA context"]) >> 20
    for takes, warned in ((right, False), (right * 2, True)):
        library["takes"] = takes
        caplog.clear()
        exl3.Exl3Engine(settings(folder)).close()
        assert any(one.levelname == "WARNING" for one in caplog.records) == warned
        assert f"holds {takes + 520} MiB of the card, {takes} of them by torch" in caplog.text


def test_a_model_that_does_not_fit_is_not_loaded(library, folder):
    with pytest.raises(Misconfigured, match="would fit"):
        exl3.Exl3Engine(settings(folder, vram_mib=2_000, slots=256, context_tokens=65_536))
    library["cuda"].free = 60
    with pytest.raises(Misconfigured, match="others use the card"):
        exl3.Exl3Engine(settings(folder, vram_mib=None))
    assert "cache" not in library


def test_memory_that_runs_out_in_the_warm_up_is_found_before_there_is_work(library, folder):
    library["breaks"] = True
    with pytest.raises(EngineUnavailable, match="outgrew its share"):
        exl3.Exl3Engine(settings(folder))


@pytest.mark.parametrize(("built", "says"), [("1.6.5 dense", "--exllamav3-all"), ("1.6.5", None)])
def test_a_mixture_of_experts_needs_the_whole_of_exllamav3(
    library, folder, tmp_path, monkeypatch, built, says
):
    place = tmp_path / "built"
    place.mkdir()
    (place / "exllamav3_ext.py").write_text("")
    prebuilt.write_manifest(place, ["9.0"], {"exllamav3": built})
    monkeypatch.syspath_prepend(place)
    exl3.Exl3Engine(settings(folder)).close()  # a dense model runs on both
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 8, "num_experts_per_tok": 2}
    (folder / "config.json").write_text(json.dumps(config))
    if says is None:
        exl3.Exl3Engine(settings(folder)).close()
    else:
        with pytest.raises(EngineUnavailable, match=f"tiny is a mixture of experts, .*{says}"):
            exl3.Exl3Engine(settings(folder))
