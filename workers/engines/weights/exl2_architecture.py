"""The architectures that exllamav2 0.3.2 knows, and how each differs from Llama.

exllamav2 loads an unknown architecture as a Llama, with a warning: the answers are wrong, and there
is no error. So an architecture that is not in this table is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forebay.workers.engines.weights.architecture import Architecture

_LLAMA = Architecture()
_VISION = Architecture(prefix="language_model.")
_GEMMA3 = Architecture(
    prefix="language_model.", rope_tables=2, wide_residual=True,
    defaults=MappingProxyType({"vocab": 262_208, "head_dim": 256, "heads": 8, "kv_heads": 4}),
)  # fmt: skip
_ONE_KV_HEAD = MappingProxyType({"kv_heads": 1})

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({
    "CohereForCausalLM": _LLAMA,
    "Cohere2ForCausalLM": _LLAMA,
    "DbrxForCausalLM": Architecture(body=("transformer.",), embedding=("transformer.wte.",)),
    "GPT2LMHeadModel": Architecture(
        body=("h.", "wte.", "wpe.", "ln_f."), embedding=("wte.",), rope_tables=0,
        mlp_matrices=2, inner_factor=4,
    ),
    "GPTBigCodeForCausalLM": Architecture(
        body=("transformer.",), embedding=("transformer.wte.",), rope_tables=0, mlp_matrices=2,
        defaults=_ONE_KV_HEAD,
    ),
    "GemmaForCausalLM": _LLAMA,
    "Gemma2ForCausalLM": Architecture(wide_residual=True),
    "Gemma3ForConditionalGeneration": _GEMMA3,
    "GemmoeForCausalLM": _LLAMA,
    "Glm4ForCausalLM": _LLAMA,
    "GraniteForCausalLM": _LLAMA,
    "IndexForCausalLM": _LLAMA,
    "InternLM2ForCausalLM": Architecture(embedding=("model.tok_embeddings.",), head=("output.",)),
    "LlamaForCausalLM": _LLAMA,
    "LlavaForConditionalGeneration": _VISION,
    "MiniCPMForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Mistral3ForConditionalGeneration": _VISION,
    "MixtralForCausalLM": _LLAMA,
    "OrionForCausalLM": _LLAMA,
    "Phi3ForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen2VLForConditionalGeneration": _LLAMA,
    "Qwen2_5_VLForConditionalGeneration": _LLAMA,
    "Qwen3ForCausalLM": _LLAMA,
    "Qwen3MoeForCausalLM": _LLAMA,
    "Starcoder2ForCausalLM": Architecture(mlp_matrices=2),
    "YiForCausalLM": _LLAMA,
})  # fmt: skip
