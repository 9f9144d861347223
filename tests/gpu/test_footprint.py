"""The planner's sums, compared with exllamav2's own classes, for every architecture it knows.

Needs torch and exllamav2's Python code, but neither its extension nor a GPU: nothing is loaded.
Marked `gpu` because only that run has torch.
"""

import contextlib
import io
import json
import sys
import types

import pytest

from forebay.workers.engines.vram import exl2_footprint
from forebay.workers.engines.weights.exl2_architecture import ARCHITECTURES
from forebay.workers.engines.weights.model_shape import dimensions

pytestmark = pytest.mark.gpu

BASE = {
    "num_hidden_layers": 3, "hidden_size": 512, "intermediate_size": 1408,
    "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 5000,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "layer_norm_eps": 1e-5,
    "layer_norm_epsilon": 1e-5, "norm_epsilon": 1e-5, "rope_theta": 1e4,
}  # fmt: skip
GPT2 = {
    "n_layer": 3, "n_embd": 512, "n_head": 8, "n_positions": 1024, "vocab_size": 5000,
    "layer_norm_epsilon": 1e-5,
}  # fmt: skip
GEMMA3 = {
    "num_hidden_layers": 3, "hidden_size": 512, "intermediate_size": 1408,
    "max_position_embeddings": 4096,
}  # fmt: skip
#: The fields of config.json of architectures that need more, or other, fields than BASE.
SPECIAL = {
    "DbrxForCausalLM": {
        "n_layers": 3, "d_model": 512, "n_heads": 8, "vocab_size": 5000, "max_seq_len": 4096,
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 1024, "moe_num_experts": 8, "moe_top_k": 2},
    },
    "GPT2LMHeadModel": GPT2,
    "GPTBigCodeForCausalLM": GPT2 | {"n_inner": 2048},
    "Gemma3ForConditionalGeneration": {"text_config": GEMMA3},
    "GemmoeForCausalLM": BASE | {"num_local_experts": 8, "num_experts_per_tok": 2},
    "LlavaForConditionalGeneration": {
        "text_config": BASE, "vision_config": {"model_type": "pixtral"},
    },
    "MiniCPMForCausalLM": BASE | {"dim_model_base": 256},
    "Mistral3ForConditionalGeneration": {
        "text_config": BASE, "vision_config": {"model_type": "pixtral"},
    },
    "MixtralForCausalLM": BASE | {"num_local_experts": 8, "num_experts_per_tok": 2},
    "Qwen2VLForConditionalGeneration": BASE | {"vision_config": {}},
    "Qwen2_5_VLForConditionalGeneration": BASE | {"vision_config": {}},
    "Qwen3MoeForCausalLM": BASE | {
        "num_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 256,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def exllamav2():
    pytest.importorskip("torch")
    with contextlib.redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
        if not importable("exllamav2_ext"):
            patch.setitem(sys.modules, "exllamav2_ext", types.ModuleType("exllamav2_ext"))
        yield pytest.importorskip("exllamav2")


def importable(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def model_of(exllamav2, folder, max_dq_size):
    config = exllamav2.ExLlamaV2Config()
    config.model_dir = str(folder)
    config.prepare(no_tensors=True)
    config.tensor_file_map, config.checkpoint_fused_mlp = {}, False
    config.max_dq_size = max_dq_size
    return exllamav2.ExLlamaV2(config)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dimensions_scratch_and_cache_are_those_of_the_library(exllamav2, tmp_path, name):
    config_json = {"architectures": [name], **SPECIAL.get(name, BASE)}
    (tmp_path / "config.json").write_text(json.dumps(config_json))
    shape = dimensions(tmp_path)
    for size in (exl2_footprint.DEFAULT_DQ, exl2_footprint.max_dq_size(shape), 100_000):
        model = model_of(exllamav2, tmp_path, size)
        scratch = max(module.scratch_space_fixed() for module in model.modules)
        # Each of at most five parts is rounded up by 128 bytes.
        assert 0 <= scratch - exl2_footprint.scratch_bytes(shape, size) <= 5 * 128
    config = model.config
    assert {
        "layers": config.num_hidden_layers, "hidden": config.hidden_size,
        "intermediate": config.intermediate_size, "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads, "head_dim": config.head_dim,
        "vocab": config.vocab_size, "max_context": config.max_seq_len,
    }.items() <= {field: getattr(shape, field) for field in shape.__slots__}.items()  # fmt: skip
    for mode, cache in CACHES.items():
        made = getattr(exllamav2, cache)(model, max_seq_len=1024, fixed_device="cpu")
        tensors = [*made.all_tensors(), *unpacked(made)]
        size = sum(tensor.nelement() * tensor.element_size() for tensor in tensors)
        assert size == 1024 * exl2_footprint.kv_bytes_per_token(shape, mode)


CACHES = {
    "fp16": "ExLlamaV2Cache", "q8": "ExLlamaV2Cache_Q8", "q6": "ExLlamaV2Cache_Q6",
    "q4": "ExLlamaV2Cache_Q4",
}  # fmt: skip


def unpacked(cache):
    """Return the tensors of the one layer that a quantized cache holds unpacked."""
    return [tensor for pair in getattr(cache, "temp_tensors", {}).values() for tensor in pair]
