"""The architectures that exllamav2 0.3.2 knows, and how each differs from Llama.

exllamav2 loads whatever it does not know as a Llama, with a warning: wrong answers instead of an
error. So what is not in this table is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from routing.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Architecture:
    """Where a model's parts are, and what its config.json may leave unsaid.

    Attributes:
        prefix: what the names of the language model's tensors begin with; other tensors (a vision
            tower, a projector) are not loaded.
        body: what follows the prefix, for all tensors but the output head.
        embedding: the token embedding, which stays in the computer's memory.
        head: the output head.
        rope_tables: tables of rotary positions on the card (2 where sliding layers have their own).
        wide_residual: the state between layers is held in FP32, not FP16.
        defaults: dimensions that config.json may leave out.
        mlp_matrices: of each MLP; 2 where it has no gate.
        inner_factor: width of the MLP over the hidden size, where config.json leaves it out.
    """

    prefix: str = ""
    body: tuple[str, ...] = ("model.",)
    embedding: str = "model.embed_tokens."
    head: str = "lm_head."
    rope_tables: int = 1
    wide_residual: bool = False
    mlp_matrices: int = 3
    defaults: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    inner_factor: int | None = None


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
    "DbrxForCausalLM": Architecture(body=("transformer.",), embedding="transformer.wte."),
    "GPT2LMHeadModel": Architecture(
        body=("h.", "wte.", "wpe.", "ln_f."), embedding="wte.", rope_tables=0,
        mlp_matrices=2, inner_factor=4,
    ),
    "GPTBigCodeForCausalLM": Architecture(
        body=("transformer.",), embedding="transformer.wte.", rope_tables=0, mlp_matrices=2,
        defaults=_ONE_KV_HEAD,
    ),
    "GemmaForCausalLM": _LLAMA,
    "Gemma2ForCausalLM": Architecture(wide_residual=True),
    "Gemma3ForConditionalGeneration": _GEMMA3,
    "GemmoeForCausalLM": _LLAMA,
    "Glm4ForCausalLM": _LLAMA,
    "GraniteForCausalLM": _LLAMA,
    "IndexForCausalLM": _LLAMA,
    "InternLM2ForCausalLM": Architecture(embedding="model.tok_embeddings.", head="output."),
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


def architecture(config: Mapping[str, Any], *, field: str) -> tuple[str, Architecture]:
    """The name and the record of the one architecture that a config.json names.

    Raises:
        Misconfigured: It names none, several, or one that exllamav2 would load as something else.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise Misconfigured("must name exactly one architecture", field=field)
    name = names[0]
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        message = f"{name[:64]!r} is no architecture that exllamav2 knows; it knows {known}"
        raise Misconfigured(message, field=field)
    return name, ARCHITECTURES[name]
