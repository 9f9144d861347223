"""The share of a card that an engine may take, and what it took."""

from __future__ import annotations

import logging
import sys
import types

import pytest

from checkpoint import write_exl2, write_exl3
from fake_cuda import CARD, Cuda
from forebay.routing.errors import EngineUnavailable, Misconfigured
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.vram.footprint import CUDA_CONTEXT, MIB
from forebay.workers.engines.vram.share import Share

LLAMA_8B = (32, 4096, 14336, 32, 8, 128, 128256)


@pytest.fixture
def cuda(monkeypatch):
    card = Cuda()
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=card))
    return card


@pytest.fixture(params=["exl2", "exl3"])
def engine(request):
    return request.param


@pytest.fixture
def folder(engine, tmp_path):
    if engine == "exl2":
        return write_exl2(tmp_path / "m", LLAMA_8B, 4.0)
    return write_exl3(tmp_path / "m", LLAMA_8B, 4)


def settings(engine, folder, **more):
    fields = {"slots": 4, "context_tokens": 4096, "vram_mib": 8_000, **more}
    return EngineSettings(engine=engine, model_dir=folder, **fields)


def started(engine, folder, **more):
    chosen = settings(engine, folder, **more)
    share = Share.of(chosen)
    return share, share.plan(chosen, folder, engine)


def test_torch_is_held_to_the_share_without_the_cuda_context(cuda, engine, folder):
    share, plan = started(engine, folder)
    assert share.size == 8_000 * MIB == plan.vram_bytes
    assert cuda.fraction == pytest.approx((8_000 * MIB - CUDA_CONTEXT) / (CARD * MIB))
    assert plan.fits
    assert (plan.batch, plan.context) == (4, 4096)


def test_without_a_share_the_whole_card_is_planned(cuda, engine, folder):
    share, plan = started(engine, folder, vram_mib=None)
    assert (share.size, cuda.fraction) == (CARD * MIB, None)
    assert plan.total_bytes <= CARD * MIB
    assert started(engine, folder, vram_mib=99_999)[0].size == CARD * MIB


def test_a_model_that_does_not_fit_is_refused_with_the_largest_plan_that_would(
    cuda, engine, folder
):
    with pytest.raises(Misconfigured, match=r"cache mode \w+, context \d+, batch \d+ would") as no:
        started(engine, folder, slots=16, context_tokens=16_384)
    assert no.value.field == "FOREBAY_MODEL_DIR"
    assert "the card has 8000" in no.value.message
    assert started(engine, folder, slots=16, context_tokens=16_384, vram_mib=None)[1].fits


def test_a_plan_is_refused_in_one_line_if_others_use_its_memory(cuda, engine, folder):
    _, plan = started(engine, folder)
    needed = -(-plan.expected_bytes // MIB) - CUDA_CONTEXT // MIB
    cuda.free = needed  # its own context is there by now
    assert started(engine, folder)[1].fits
    cuda.free = needed - 2
    with pytest.raises(Misconfigured) as caught:
        started(engine, folder)
    assert caught.value.field == "FOREBAY_VRAM_MIB"
    message = str(caught.value)
    room = cuda.free + CUDA_CONTEXT // MIB
    assert f"fits its share of 8000, but only {room} MiB are free: others use the card" in message
    assert "\n" not in message
    assert cuda.reserved == 0
    # The fix that the message names helps.
    assert started(engine, folder, vram_mib=room, slots=1)[1].total_bytes <= room * MIB


def test_two_engines_with_a_share_each_start_one_after_the_other(cuda, engine, folder):
    """The second finds the card half full; that memory does not count as its own."""
    _, first = started(engine, folder)
    cuda.free -= first.expected_bytes // MIB  # another process, whose torch this one does not see
    share, second = started(engine, folder)
    cuda.take((second.expected_bytes - second.parts["CUDA context"]) // MIB)
    share.compare(second)
    with pytest.raises(Misconfigured, match="others use the card"):
        started(engine, folder)


def test_only_the_memory_of_this_process_is_compared_with_the_plan(cuda, engine, folder, caplog):
    caplog.set_level(logging.INFO)
    share, plan = started(engine, folder)
    cuda.take((plan.expected_bytes - plan.parts["CUDA context"]) // MIB)
    for others in (5_000, -3_000):  # another engine takes memory, or gives some back
        cuda.free -= others
        caplog.clear()
        share.compare(plan)
        (record,) = caplog.records
        assert (record.levelname, record.args[0]) == ("INFO", plan.expected_bytes // MIB)
        assert share.memory(plan).used_bytes // MIB == plan.expected_bytes // MIB
        assert not share.memory(plan).off
    cuda.take(plan.expected_bytes // MIB // 15)
    share.compare(plan)
    assert share.memory(plan).off
    assert caplog.records[-1].levelname == "WARNING"
    assert "this process holds" in caplog.text
    assert "+7%" in caplog.text or "+6%" in caplog.text


def test_memory_that_runs_out_while_loading_is_reported_with_the_free_memory(cuda, engine, folder):
    share, _ = started(engine, folder)
    cuda.free = 123
    text = "outgrew its share of 8000 MiB; 123 MiB of the card are free"
    with pytest.raises(EngineUnavailable, match=text), share.guard():
        raise Cuda.OutOfMemoryError("CUDA out of memory: a secret")
    with pytest.raises(ValueError, match="other"), share.guard():
        raise ValueError("other")
