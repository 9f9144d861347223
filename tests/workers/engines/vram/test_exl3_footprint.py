"""The sums for exllamav3, compared with its source as far as that runs without a GPU."""

import math
import re
import types
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from checkpoint import write_config, write_exl3, write_safetensors
from forebay.routing.errors import Misconfigured
from forebay.workers.engines.exllama import exl3
from forebay.workers.engines.vram import exl3_footprint, planner
from forebay.workers.engines.vram.footprint import MIB, MODES, PAGE
from forebay.workers.engines.weights.exl3_architecture import ARCHITECTURES
from forebay.workers.engines.weights.linear_attention import LinearAttention
from forebay.workers.engines.weights.model_shape import Shape, read_shape
from library_sources import real, source

V3 = "exllamav3"
CARD = 16_380 * MIB
QWEN3_8B = (36, 4096, 12288, 32, 8, 128, 151936)
SMALL = (2, 128, 256, 4, 2, 32, 200)
CHUNK = 2048


def shape(**changes):
    fields = {
        "architecture": "LlamaForCausalLM", "format": "exl3", "layers": 3, "hidden": 1024,
        "intermediate": 4096, "heads": 8, "kv_heads": 4, "head_dim": 128, "vocab": 5000,
        "max_context": 1 << 20, "engine": "exl3", "inner_bytes": 4,
    }  # fmt: skip
    return Shape(**{**fields, **changes})


# --- the cache ------------------------------------------------------------------------------------


def cache_layers():
    """Return the classes of the library; only the memory on a card is missing."""
    sized = {name: types.SimpleNamespace(itemsize=size) for name, size in (("half", 2), ("int", 4))}
    given = {"CacheLayer": LayerBase, "PAGE_SIZE": PAGE, "np": np, "override": lambda one: one}
    torch = types.SimpleNamespace(**sized)
    return {
        name: getattr(real(V3, f"cache/{path}.py", torch=torch, **given), name)
        for path, name in (("fp16", "CacheLayer_fp16"), ("quant", "CacheLayer_quant"))
    }


class LayerBase:
    def __init__(self, config, attention, cache_id, max_num_tokens, **_):
        self.attention = attention


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("heads", "width"), [(8, 128), (4, 256), (2, 64), (1, 32), (10, 96)])
def test_a_token_takes_what_the_librarys_cache_would_allocate(mode, heads, width):
    asked = exl3._cache_layer(types.SimpleNamespace(**cache_layers()), mode)
    layer = asked.pop("layer_type")
    attention = types.SimpleNamespace(num_kv_heads=heads, head_dim=width)
    size = layer(None, attention, 0, 4 * PAGE, **asked).storage_size()
    model = shape(kv_heads=heads, head_dim=width)
    assert model.layers * size == 4 * PAGE * exl3_footprint.kv_bytes_per_token(model, mode)


@pytest.mark.parametrize("width", [80, 544])
def test_a_cache_that_the_kernels_cannot_read_packed_is_unpacked_whole(width):
    """The dispatcher has this condition, and makes two tensors of the cache's full length."""
    text = source(V3, "modules/attention_fn/dispatch.py")
    assert "dim <= 512 and dim % 32 == 0" in text
    odd = shape(head_dim=width)
    kept = odd.layers * (odd.kv_width // 32) * (4 * 8 + 4)
    assert exl3_footprint.kv_bytes_per_token(odd, "q4") == kept + 4 * odd.kv_width
    assert exl3_footprint.kv_bytes_per_token(odd, "fp16") == 4 * odd.layers * odd.kv_width


# --- the scratch ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("modules/quant/exl3.py", "AUTO_RECONSTRUCT_THRESHOLD = 144"),
        ("modules/quant/exl3.py", "MAX_RECONSTRUCT_SLICE_N = 32768"),
        ("modules/attention_fn/triton_paged.py", '"EXL3_QC_STAGING_PAGES", "256"'),
        ("modules/attention_fn/triton_paged.py", "if bound_kv >= 8192"),
        ("modules/attention_fn/triton_paged.py", "max_partial_bytes = 128 * 1024 * 1024"),
        ("modules/block_sparse_mlp.py", '"EXL3_MOE_FUSED_ROWS_WIDE", 256'),
        ("exllamav3_ext/quant/exl3_moe_common.cuh", "#define MOE_SMS_PER_EXPERT 8 "),
        ("exllamav3_ext/quant/exl3_devctx.cuh", "#define WORKSPACE_SIZE (16*1024*1024)"),
        ("exllamav3_ext/quant/exl3_devctx.cuh", "#define MAX_TILES_C (1024 * 1024)"),
        ("loader/safetensors.py", "ARENA_BLOCK = 128 << 20 "),
        ("constants.py", "PAGE_SIZE = 256"),
        ("modules/embedding.py", '"prefer_cpu": not quantized'),
    ],
)
def test_our_constants_are_those_of_the_library(path, says):
    assert says in source(V3, path)


@pytest.mark.parametrize(
    ("hidden", "inner", "experts", "used"),
    [(2048, 768, 128, 8), (4096, 14336, 8, 2), (1024, 512, 4, 1)],
)
def test_the_bound_of_experts_is_the_librarys_own(hidden, inner, experts, used):
    recon = real_recon()
    path = "modules/block_sparse_mlp.py"
    body = re.search(
        r"(?s)    def _prefill_bound\(.*?\n        return fixed, .*?\n", source(V3, path)
    )
    space = {
        "FUSED_DET": True, "PAD_MAX": recon.PAD_MAX, "worst_case_bytes": recon.worst_case_bytes,
        "torch": types.SimpleNamespace(half=types.SimpleNamespace(itemsize=2)),
    }  # fmt: skip
    exec("from __future__ import annotations\nclass Layer:\n" + body[0], space)
    layer = space["Layer"]()
    layer.expert_size, layer.interm_dtype = hidden, space["torch"].half
    dims = ((hidden, inner, 4), (hidden, inner, 4), (inner, hidden, 4), False)
    theirs = sum(layer._prefill_bound(CHUNK, CHUNK * used, inner, dims))
    model = shape(hidden=hidden, intermediate=inner, experts=experts, experts_used=used)
    assert exl3_footprint._experts(model, CHUNK) == theirs + 14 * CHUNK * hidden


def real_recon():
    text = source(V3, "modules/moe_batch_recon.py")
    wanted = text[text.index("RECON_BATCH = ") : text.index("# act(g, u)")]
    wanted += text[text.index("def batch_cap(") : text.index("class BatchReconLayer")]
    space = {"os": types.SimpleNamespace(environ={})}
    exec(wanted, space)
    return types.SimpleNamespace(**space)


def test_the_scratch_is_that_of_the_module_which_takes_most():
    one = shape()
    mlp = CHUNK * (14 * 1024 + 4 * 4096) + 4 * CHUNK * 1024 + 2 * 4096 * 1024
    assert exl3_footprint.scratch_bytes(one, 4096, 8, CHUNK) == mlp
    wide = shape(inner_bytes=10)
    assert exl3_footprint.scratch_bytes(wide, 4096, 8, CHUNK) == mlp + 6 * CHUNK * 4096
    # A window of 64 Ki tokens and more is unpacked in pieces of that size; its sums are 128 MiB.
    held = CHUNK * (10 * 1024 + 4 * (1024 + 512))
    window = 4 * 512 * 65_536 + 128 * MIB * 130 // 128
    for context in (65_536, 1 << 20):
        assert exl3_footprint.scratch_bytes(one, context, 8, CHUNK) == held + window
    staged = shape(staged_bytes=3 << 30)
    assert exl3_footprint.scratch_bytes(staged, 4096, 8, CHUNK) == 3 << 30
    head = 200 * (14 * 1024 + 6 * 5120) + 16 * 5120 + 2 * 1024 * 5120
    assert exl3_footprint._head(one, 200) == head


# --- the architectures ----------------------------------------------------------------------------


def described():
    """Return, by architecture, the text of its file, or of the file whose model it uses."""
    folder = Path(str(distribution(V3).locate_file("exllamav3/architecture")))
    texts = {file.stem: file.read_text("utf-8") for file in folder.glob("*.py")}
    return {
        name: language(text, texts)
        for text in texts.values()
        for name in re.findall(r'arch_string = "(\w+)"', text)
    }


def language(text, texts):
    """Return the text of the language model, without the classes of a vision tower."""
    own = re.sub(r"(?ms)^class \w*Vision\w*\(.*?(?=^class |\Z)", "", text)
    above = re.search(r"(?m)^from \.(\w+) import (?:\w+Config, )?\w+Model$", text)
    if above is None or re.search(r"\bAttention\(", own):
        return own
    return language(texts[above[1]], texts)


KNOWN = described()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_planned_architecture_has_only_layers_that_are_planned(name):
    text = KNOWN[name]
    assert re.search(r"\bAttention\(", text)
    assert not re.search(r"\b(SlidingAttention|Mamba2|ShortConv|MLAttention|DSV4Attention)\(", text)
    assert ("GatedDeltaNet(" in text) == ARCHITECTURES[name].hybrid
    assert ("interleaved_gate = True" in text) == ARCHITECTURES[name].hybrid
    assert not re.search(r"full_gate ?= ?True|key_g ?=", text)
    asked = set(re.findall(r"(?m)^\s*interm_dtype = torch\.(\w+)", text))
    expected = {("float",): 10, ("half",): 4, (): 6}[tuple(asked)]
    assert ARCHITECTURES[name].inner_bytes == expected
    gated = 3 if "BlockSparseMLP(" in text or "GatedMLP(" in text else 2
    assert ARCHITECTURES[name].mlp_matrices == gated


@pytest.mark.parametrize("name", ["Qwen3NextForCausalLM", "GptOssForCausalLM", "NoneForCausalLM"])
def test_another_architecture_is_refused_and_told_which_are_planned(name, tmp_path):
    folder = write_exl3(tmp_path, SMALL, 4, architectures=[name])
    with pytest.raises(Misconfigured, match="whose memory under exllamav3 is planned") as caught:
        read_shape(folder)
    assert all(one in caught.value.message for one in ARCHITECTURES)


# --- linear attention -----------------------------------------------------------------------------

QWEN35 = {
    "architectures": ["Qwen3_5ForConditionalGeneration"], "linear_num_key_heads": 4,
    "linear_num_value_heads": 8, "linear_key_head_dim": 64, "linear_value_head_dim": 32,
}  # fmt: skip


class Meta:
    """A tensor without data: its shape and type."""

    def __init__(self, shape, dtype=None, device=None):
        self.shape, self.dtype = shape, dtype

    def numel(self):
        return math.prod(self.shape)

    def element_size(self):
        return {"float": 4}.get(self.dtype, 2)


def test_a_job_takes_what_the_librarys_state_would_allocate(tmp_path):
    text = source(V3, "modules/gated_delta_net.py")
    body = re.search(r"(?ms)^class GDNLayerState:.*?(?=^class )", text)[0]
    torch = types.SimpleNamespace(
        empty=Meta, empty_like=lambda one, dtype: Meta(one.shape, dtype), bfloat16="bfloat16",
        float="float", half="half",
    )  # fmt: skip
    space = {"torch": torch}
    exec("from __future__ import annotations\n" + body, space)
    module = types.SimpleNamespace(
        fdim_qkv=2 * 4 * 64 + 8 * 32, conv_kernel_size=4, num_v_heads=8, k_head_dim=64,
        v_head_dim=32,
    )  # fmt: skip
    batch = 5
    state = space["GDNLayerState"](module, batch, 0, 0)
    state.set_state_dtype("half")  # as `Cache` does by default
    read = read_shape(write_exl3(tmp_path, DEEP, 4, prefix="model.language_model.", **QWEN35))
    parts = exl3_footprint.fixed_parts(read, 4096, batch, CHUNK)
    assert parts["jobs"] == 6 * state.storage_size()


DEEP = (8, 128, 256, 4, 2, 32, 200)


@pytest.mark.parametrize(
    ("config", "cached"),
    [
        ({}, 2),  # every fourth
        ({"full_attention_interval": 3}, 2),
        ({"text_config": {"full_attention_interval": 2}}, 4),
        ({"layer_types": ["linear_attention"] * 7 + ["full_attention"]}, 1),
    ],
)
def test_only_layers_with_full_attention_are_cached(config, cached, tmp_path):
    folder = write_exl3(tmp_path, DEEP, 4, prefix="model.language_model.", **QWEN35, **config)
    read = read_shape(folder)
    assert (read.layers, read.cached_layers, read.linear.layers) == (8, cached, 8 - cached)
    assert exl3_footprint.kv_bytes_per_token(read, "fp16") == cached * 2 * 32 * 4


@pytest.mark.parametrize("kinds", ["all", ["full_attention"], ["strange"] * 8, [["x"]] * 8])
def test_kinds_of_layers_that_are_not_known_are_refused(kinds, tmp_path):
    folder = write_exl3(
        tmp_path, DEEP, 4, prefix="model.language_model.", **QWEN35, layer_types=kinds
    )
    with pytest.raises(Misconfigured, match="layer_types must say linear_attention or"):
        read_shape(folder)


def test_the_memory_of_a_linear_layer_for_a_prompt_is_in_the_scratch():
    text = source(V3, "modules/gated_delta_net_fn/gated_delta_rule.py")
    assert "~112 KB/token at 48 v-heads x 128" in text
    assert exl3_footprint._SCAN_BYTES_PER_VALUE >= 112 * 1024 / (48 * 128)
    linear = LinearAttention(3, 16, 32, 128, 128, 4)
    mixed = 8192
    hybrid = shape(layers=4, intermediate=128, linear=linear)
    held = CHUNK * (10 * 1024 + 6 * mixed + 4 * 2048 + 23 * 4096)
    out = max(2 * 1024 * mixed, 4 * CHUNK * 1024 + 2 * 4096 * 1024)
    assert exl3_footprint.scratch_bytes(hybrid, 4096, 1, CHUNK) == held + out


# --- what is read from the headers ----------------------------------------------------------------


def bytes_of_matrix(rows, columns, bits):
    return rows * columns * bits // 8 + 2 * (rows + columns)


def test_weights_are_all_but_the_embedding(tmp_path):
    read = read_shape(write_exl3(tmp_path, SMALL, 4))
    layer = (
        2 * bytes_of_matrix(128, 128, 4) + 2 * bytes_of_matrix(128, 64, 4)
        + 3 * bytes_of_matrix(128, 256, 4) + 2 * 128
    )  # fmt: skip
    assert read.layers_bytes == 2 * layer
    assert read.weights_bytes == 2 * layer + bytes_of_matrix(128, 256, 6)
    assert (read.engine, read.format, read.embedding_bytes) == ("exl3", "exl3", 2 * 128 * 200)
    assert read.staged_bytes == 0
    weights = 2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256
    assert read.bits == pytest.approx(8 * layer / weights)


def test_a_tied_head_that_was_not_quantized_is_there_twice_while_it_is_loaded(tmp_path):
    tied = read_shape(write_exl3(tmp_path / "a", SMALL, 4, head_bits=0))
    whole = read_shape(write_exl3(tmp_path / "b", SMALL, 4))
    head = 2 * 128 * 256  # of 200 tokens, padded to 128
    assert tied.weights_bytes == whole.weights_bytes - bytes_of_matrix(128, 256, 6) + head
    assert tied.staged_bytes == head


def test_matrices_that_were_not_quantized_are_staged_layer_by_layer(tmp_path):
    write_config(tmp_path, SMALL)
    layers = {
        f"model.layers.{n}.{name}.weight": ("BF16", dims)
        for n in range(2)
        for name, dims in (("mlp.up_proj", [256, 128]), ("mlp.down_proj", [128, 256]), ("n", [128]))
    }
    write_safetensors(tmp_path / "model.safetensors", layers)
    read = read_shape(tmp_path, "exl3")
    assert (read.engine, read.format) == ("exl3", "fp16")
    assert read.staged_bytes == 2 * 2 * 128 * 256
    assert read_shape(tmp_path).engine == "exl2"


def test_signs_that_are_packed_take_sixteen_times_as_much(tmp_path):
    folder = write_exl3(tmp_path, SMALL, 4)
    before = read_shape(folder).weights_bytes
    extra = {
        "model.layers.0.mlp.other.su": ("I16", [8]),
        "model.layers.0.mlp.other.sv": ("I16", [4]),
    }
    write_safetensors(folder / "more.safetensors", extra)
    assert read_shape(folder).weights_bytes - before == 2 * 16 * (8 + 4)


@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.model."])
def test_both_layouts_of_a_vision_model_are_known(prefix, tmp_path):
    name = "Mistral3ForConditionalGeneration"
    folder = write_exl3(tmp_path, SMALL, 4, prefix=prefix, architectures=[name])
    before = read_shape(folder).weights_bytes
    tower = {
        "vision_tower.layers.0.weight": ("F16", [99, 9]),
        "model.vision_tower.layers.0.weight": ("F16", [99, 9]),
    }
    write_safetensors(folder / "tower.safetensors", tower)
    assert read_shape(folder).weights_bytes == before > 0


@pytest.mark.parametrize(
    ("method", "engine"), [("exl3", "exl2"), ("exl2", "exl3"), ("gptq", "exl3")]
)
def test_the_wrong_engine_for_a_format_is_told_the_right_one(method, engine, tmp_path):
    folder = write_exl3(tmp_path, SMALL, 4)
    config = (folder / "config.json").read_text().replace('"exl3"', f'"{method}"')
    (folder / "config.json").write_text(config)
    right = "exl3" if method == "exl3" else "exl2"
    with pytest.raises(Misconfigured, match=f"{engine} does not load: FOREBAY_ENGINE={right}"):
        read_shape(folder, engine)


# --- plans ----------------------------------------------------------------------------------------


def test_the_parts_of_one_plan_are_the_documented_ones(tmp_path):
    read = read_shape(write_exl3(tmp_path, QWEN3_8B, 4, architectures=["Qwen3ForCausalLM"]))
    plan = planner.plan(read, CARD, cache_mode="q8", context=8192, batch=4)
    assert plan.fits
    assert plan.max_dq_size is None
    assert plan.cache_tokens == 2 * 4 * (8192 + PAGE)  # one token more than 8,192 takes a page more
    mlp = CHUNK * (14 * 4096 + 4 * 12_288) + 4 * CHUNK * 4096 + 2 * 12_288 * 4096
    held = CHUNK * (10 * 4096 + 4 * (4096 + 1024))
    window = 4 * 1024 * (8192 + PAGE) + 128 * MIB * 130 // 128
    assert dict(plan.parts) == {
        "weights": read.weights_bytes,
        "cache": plan.cache_tokens * 36 * 1024 * 17 // 8,
        "scratch": max(mlp, held + window),
        "states": 64 * MIB,
        "CUDA context": 520 * MIB,
        "slack": 428 * MIB,
    }
    assert plan.bound == plan.parts["scratch"] + plan.parts["states"]


def test_what_is_measured_may_lack_what_is_only_a_bound(tmp_path):
    read = read_shape(write_exl3(tmp_path, QWEN3_8B, 4, architectures=["Qwen3ForCausalLM"]))
    plan = planner.plan(read, CARD)
    assert planner.check(plan, plan.expected_bytes) is None
    assert planner.check(plan, plan.expected_bytes - plan.bound) is None
    assert "+6%" in planner.check(plan, int(plan.expected_bytes * 1.06))
    low = int((plan.expected_bytes - plan.bound) * 0.94)
    assert "beside the planned" in planner.check(plan, low)
