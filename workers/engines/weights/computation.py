"""Fields of config.json that change what a model computes: each is read by the engine, or refused.

The libraries ignore a field that they do not know. The model would run, and its answers be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.weights.architecture import GpuEngineName
from forebay.workers.engines.weights.dimensions import parts

_LIBRARY: Mapping[GpuEngineName, str] = {"exl2": "exllamav2", "exl3": "exllamav3"}
_GEMMA = frozenset({"Gemma2ForCausalLM", "Gemma3ForConditionalGeneration"})
_QWEN3_5 = frozenset({"Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"})
_COHERE = frozenset({"CohereForCausalLM", "Cohere2ForCausalLM"})
_NONE: frozenset[str] = frozenset()


class Rule(NamedTuple):
    """The treatment of a field of config.json by the engines.

    Attributes:
        neutral: values that change nothing; `None` and an absent field change nothing either.
        by_exl2: exllamav2 reads the field, at the top of config.json only.
        by_exl3: the architectures for which exllamav3 reads the field.
    """

    neutral: tuple[Any, ...]
    by_exl2: bool = False
    by_exl3: frozenset[str] = _NONE


_OFF = (0, False)
_ONE = (1,)
_RULES: Mapping[str, Rule] = {
    # Attention
    "attn_logit_softcapping": Rule(_OFF, by_exl2=True, by_exl3=_GEMMA),
    "attention_multiplier": Rule((), by_exl2=True),
    "attention_sinks": Rule(_OFF),
    "attention_sink": Rule(_OFF),
    "add_swa_attention_sink_bias": Rule(_OFF),
    "add_full_attention_sink_bias": Rule(_OFF),
    "use_sinks": Rule(_OFF),
    "sink_size": Rule(_OFF),
    "attn_temperature_tuning": Rule(_OFF),
    "attention_chunk_size": Rule(_OFF),
    "alibi": Rule(_OFF),
    "clip_qkv": Rule(_OFF),
    "qk_layernorm": Rule(_OFF),
    "use_qk_norm": Rule(_OFF, by_exl2=True, by_exl3=_COHERE),
    "qk_norm": Rule(_OFF),
    "attn_output_gate": Rule(_OFF, by_exl3=_QWEN3_5),
    "cross_attention_layers": Rule(([],)),
    "is_causal": Rule((True,)),
    "use_bidirectional_attention": Rule(_OFF),
    "rope_interleave": Rule(_OFF),
    "no_rope_layer_interval": Rule(_OFF, by_exl3=frozenset({"SmolLM3ForCausalLM"})),
    "no_rope_layers": Rule(([],), by_exl3=frozenset({"SmolLM3ForCausalLM"})),
    "rotary_pct": Rule(_ONE),
    "rotary_emb_fraction": Rule(_ONE),
    # Blocks
    "parallel_attn": Rule(_OFF),
    "use_parallel_residual": Rule(_OFF),
    "norm_type": Rule(("rms_norm", "rmsnorm", "RMSNorm")),
    "rms_norm_add_unit_offset": Rule(_OFF),
    "block_configs": Rule(([],)),
    "per_layer_config": Rule(({},)),
    # Scales
    "dim_model_base": Rule((), by_exl2=True),
    "final_logit_softcapping": Rule(_OFF, by_exl2=True, by_exl3=_GEMMA),
    "embedding_multiplier": Rule(_ONE, by_exl2=True),
    "logit_scale": Rule(_ONE, by_exl2=True, by_exl3=_COHERE),
    "logits_scaling": Rule(_ONE, by_exl2=True),
    "residual_multiplier": Rule(_ONE, by_exl2=True),
    "scale_depth": Rule((), by_exl2=True),
    "scale_emb": Rule(_ONE, by_exl2=True),
    # Mixture of experts
    "decoder_sparse_step": Rule(_ONE),
    "first_k_dense_replace": Rule(_OFF),
    "interleave_moe_layer_step": Rule(_ONE),
    "mlp_only_layers": Rule(([],)),
    "moe_layer_freq": Rule(_ONE),
    "n_group": Rule(_ONE),
    "n_shared_experts": Rule(_OFF),
    "norm_topk_prob": Rule((True,), by_exl3=_QWEN3_5),
    "num_shared_experts": Rule(_OFF),
    "routed_scaling_factor": Rule(_ONE),
    "scoring_func": Rule(("softmax",)),
    "shared_expert_intermediate_size": Rule(_OFF, by_exl3=_QWEN3_5),
    "topk_group": Rule(_ONE),
    "topk_method": Rule(("greedy",)),
}
#: Fields of other names change a computation if they are called so and are not off. Some exceptions
#: are checked elsewhere, the others describe shapes and training.
_CHANGES = re.compile(
    r"multipliers?$|softcap|^scale_|_scale$|_scaling$|^clip_|_clip$|_limit$|sinks?$|sparsity"
    r"|lora_rank$|^altup_|^laurel_|kv_shared|^shared_kv"
)
_NEUTRAL: tuple[Any, ...] = (*_OFF, *_ONE, "", [], {})
_EXCEPTIONS = frozenset({"rope_scaling", "ffn_dim_multiplier"})
#: Fields that exllamav2 reads at the top only; exllamav3 reads them, or looks at the tensors.
_TOP_ONLY = {"attention_bias": _OFF, "mlp_bias": _OFF, "partial_rotary_factor": _ONE}

_GELU = ("Gemma", "GPT", "Starcoder2")  # begin the names of architectures that use it
_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function")
_LAYER_KINDS = {"full_attention", "sliding_attention"}
_WITH_WINDOW: Mapping[GpuEngineName, frozenset[str]] = {
    "exl2": _GEMMA | {"Cohere2ForCausalLM"},
    "exl3": frozenset({
        "Cohere2ForCausalLM", "Exaone4ForCausalLM", "Gemma3ForConditionalGeneration",
        "Olmo3ForCausalLM",
    }),
}  # fmt: skip


def check_computation(
    config: Mapping[str, Any], engine: GpuEngineName, architecture: str, place: str
) -> None:
    """Check that the engine computes what config.json says, apart from the rotary positions.

    Raises:
        Misconfigured: The engine would ignore a field; the error names the field.
    """
    for part, prefix in named_parts(config):
        for name, rule in _RULES.items():
            read = rule.by_exl2 and not prefix if engine == "exl2" else architecture in rule.by_exl3
            if not read:
                _check_neutral(part, prefix, name, rule.neutral, engine, place)
        for name in sorted(filter(_CHANGES.search, part.keys() - _RULES.keys() - _EXCEPTIONS)):
            _check_neutral(part, prefix, name, _NEUTRAL, engine, place)
        if engine == "exl2":
            if prefix:
                for name, neutral in _TOP_ONLY.items():
                    _check_neutral(part, prefix, name, neutral, engine, place)
            _check_activation(part, prefix, architecture, place)
    _check_neutral(config.get("attn_config"), "attn_config.", "clip_qkv", _OFF, engine, place)
    _check_neutral(config.get("attn_config"), "attn_config.", "alibi", _OFF, engine, place)


def named_parts(config: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the parts of config.json, and what errors write before the name of a field."""
    return zip(parts(config), ("", "text_config."), strict=False)


def attended_context(
    config: Mapping[str, Any], engine: GpuEngineName, architecture: str, max_context: int
) -> int:
    """Return how many tokens a model may see at most, as config.json and the engine compute it.

    An engine that has no sliding window for an architecture attends to all tokens. Up to the length
    of the window that is the same.
    """
    if architecture in _WITH_WINDOW[engine]:
        return max_context
    for part in parts(config):
        window = part.get("sliding_window")
        kinds = part.get("layer_types")
        slides = "sliding_attention" in kinds if isinstance(kinds, list) else True
        if type(window) is int and window > 0 and slides and part.get("use_sliding_window", True):
            max_context = min(max_context, window)
    return max_context


def check_layer_kinds(config: Mapping[str, Any], place: str) -> None:
    """Check that all layers have a kind of attention that the engines know.

    Raises:
        Misconfigured: `layer_types` names another kind.
    """
    for part, prefix in named_parts(config):
        kinds = part.get("layer_types")
        unknown = [kind for kind in kinds if kind not in _LAYER_KINDS] if kinds else []
        if unknown:
            message = f"{prefix}layer_types: {str(unknown[0])[:32]!r} is no known kind of layer"
            raise Misconfigured(message, field=place)


def _check_neutral(
    part: Any, prefix: str, name: str, neutral: tuple[Any, ...], engine: GpuEngineName, place: str
) -> None:
    value = part.get(name) if isinstance(part, Mapping) else None
    if value is not None and value not in neutral:
        message = (
            f"{prefix}{name} is {str(value)[:32]}, which {_LIBRARY[engine]} does not compute for "
            "this architecture: the answers would be wrong; take another model or engine"
        )
        raise Misconfigured(message, field=place)


def _check_activation(part: Mapping[str, Any], prefix: str, architecture: str, place: str) -> None:
    """Check the activation of the MLP, which exllamav2 knows by the architecture alone."""
    wanted = ("gelu",) if architecture.startswith(_GELU) else ("silu", "swish")
    for name in _ACTIVATIONS:
        value = part.get(name)
        if value is not None and not str(value).startswith(wanted):
            message = f"{prefix}{name} must be {wanted[0]} for exllamav2, not {str(value)[:32]}"
            raise Misconfigured(message, field=place)
