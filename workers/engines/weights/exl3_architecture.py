"""The architectures of exllamav3 1.6.5 whose memory is planned, and how each differs from Llama.

Their layers keep the keys and values of every token in the one paged cache (its modules/attn.py
`Attention`), or a state for each job (modules/gated_delta_net.py `GatedDeltaNet`). exllamav3 loads
other architectures too: with other states (`Mamba2`, `ShortConv`), with a ring of the last tokens
(`SlidingAttention`), or with one compressed row a token (`MLAttention`). Their memory is not
planned, so they are refused. Gemma3ForCausalLM is refused as well: this version of exllamav3 looks
for its tensors under names that begin with a dot.

`inner_bytes` follows from `interm_dtype` in architecture/*.py and from modules/mlp.py `GatedMLP`.
Gate and up in FP32 beside a product in FP16 take 10 bytes. Both in FP16 take 4 bytes if the product
replaces one of them (`interm_dtype` is `torch.half`), and 6 if it does not (it is not set).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forebay.workers.engines.weights.architecture import Architecture

_CONTEXT = MappingProxyType({"max_context": 8_192})  # the default of its model/config.py
_GEMMA3 = MappingProxyType(
    {"vocab": 262_208, "head_dim": 256, "heads": 8, "kv_heads": 4, "max_context": 131_072}
)


def _like_llama(inner_bytes: int, mlp_matrices: int = 3) -> Architecture:
    return Architecture(
        wide_residual=True, mlp_matrices=mlp_matrices, inner_bytes=inner_bytes,
        defaults=_CONTEXT,
    )  # fmt: skip


def _in_vision_model(
    inner_bytes: int, body: tuple[str, ...], *, hybrid: bool = False,
    defaults: Mapping[str, int] = _CONTEXT,
) -> Architecture:  # fmt: skip
    """Return a language model inside a vision model; its head lies beside it or in it."""
    return Architecture(
        body=body, embedding=tuple(f"{prefix}embed_tokens." for prefix in body),
        head=("lm_head.", "language_model.lm_head."), wide_residual=True, inner_bytes=inner_bytes,
        hybrid=hybrid, defaults=defaults,
    )  # fmt: skip


_WIDE, _HALF, _PLAIN = _like_llama(10), _like_llama(4), _like_llama(6)
_INSIDE = ("model.language_model.",)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({
    "ArceeForCausalLM": _like_llama(6, mlp_matrices=2),
    "CohereForCausalLM": _WIDE,
    "Cohere2ForCausalLM": _WIDE,
    "Ernie4_5_ForCausalLM": _HALF,
    "Exaone4ForCausalLM": _HALF,
    "Gemma2ForCausalLM": _PLAIN,
    "Gemma3ForConditionalGeneration": _in_vision_model(
        6, ("language_model.model.",), defaults=_GEMMA3
    ),
    "Glm4ForCausalLM": _HALF,
    "IQuestCoderForCausalLM": _WIDE,
    "LlamaForCausalLM": _WIDE,
    "Ministral3ForCausalLM": _PLAIN,
    "MistralForCausalLM": _WIDE,
    "Mistral3ForConditionalGeneration": _in_vision_model(6, ("language_model.model.", *_INSIDE)),
    "MixtralForCausalLM": _HALF,
    "Olmo3ForCausalLM": _HALF,
    "Phi3ForCausalLM": _PLAIN,
    "Qwen2ForCausalLM": _WIDE,
    "Qwen2_5_VLForConditionalGeneration": _WIDE,
    "Qwen3ForCausalLM": _HALF,
    "Qwen3MoeForCausalLM": _HALF,
    "Qwen3_5ForCausalLM": _in_vision_model(4, _INSIDE, hybrid=True),
    "Qwen3_5ForConditionalGeneration": _in_vision_model(4, _INSIDE, hybrid=True),
    "Qwen3VLForConditionalGeneration": _in_vision_model(4, _INSIDE),
    "Qwen3VLMoeForConditionalGeneration": _in_vision_model(4, _INSIDE),
    "SeedOssForCausalLM": _WIDE,
    "SmolLM3ForCausalLM": _HALF,
})  # fmt: skip
