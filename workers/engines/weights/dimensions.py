"""The dimensions of a model in config.json: each number has several names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.weights.architecture import Architecture

_MAX_DIMENSION = 1 << 24  # far beyond any model

#: The names of each number in config.json, in the order in which exllamav2 looks for them.
_NAMES = {
    "layers": ("num_hidden_layers", "n_layers", "n_layer"),
    "hidden": ("hidden_size", "d_model", "n_embd"),
    "intermediate": ("intermediate_size", "ffn_config.ffn_hidden_size", "n_inner"),
    "moe_intermediate": ("moe_intermediate_size",),
    "experts": ("num_local_experts", "ffn_config.moe_num_experts", "num_experts"),
    "experts_used": ("num_experts_per_tok", "ffn_config.moe_top_k"),
    "heads": ("num_attention_heads", "n_heads", "n_head"),
    "kv_heads": ("num_key_value_heads", "attn_config.kv_n_heads"),
    "head_dim": ("head_dim",),
    "vocab": ("vocab_size",),
    "max_context": (
        "max_sequence_length", "model_max_length", "max_position_embeddings", "max_seq_len",
        "n_positions",
    ),
}  # fmt: skip


def numbers(config: Mapping[str, Any], kind: Architecture, place: str) -> dict[str, int]:
    """Return the dimensions; those that config.json leaves out are filled in as the library does.

    Args:
        config: the object in config.json.
        kind: the model's architecture.
        place: names config.json in errors.

    Raises:
        Misconfigured: A dimension is missing, or is no positive whole number.
    """
    known: dict[str, int] = dict(kind.defaults)
    given = {key: number(config, names, place) for key, names in _NAMES.items()}
    known |= {key: value for key, value in given.items() if value is not None}
    if kind.inner_factor and "hidden" in known:
        known.setdefault("intermediate", kind.inner_factor * known["hidden"])
    known["experts"] = known.get("experts", 0)
    known.setdefault("experts_used", 0)
    inner = known.pop("moe_intermediate", None)
    if inner and known["experts"]:
        known["intermediate"] = inner
    known.setdefault("kv_heads", known.get("heads", 0))
    if known.get("hidden") and known.get("heads"):
        known.setdefault("head_dim", known["hidden"] // known["heads"])
    known.setdefault("max_context", 2048)
    for key in ("layers", "hidden", "intermediate", "heads", "head_dim", "vocab"):
        if not known.get(key):
            raise Misconfigured(f"does not say {_NAMES[key][0]}", field=place)
    return known


def number(config: Mapping[str, Any], names: tuple[str, ...], place: str) -> int | None:
    """Return the number under the first of these names that is there, or `None`.

    Raises:
        Misconfigured: The value is no positive whole number.
    """
    for part in parts(config):
        for name in names:
            value = _lookup(part, name)
            if value is not None:
                return _positive(value, name, place)
    return None


def parts(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return config.json, and its separate part for the language model if there is one."""
    text = config.get("text_config")
    return (config, text) if isinstance(text, dict) else (config,)


def _lookup(part: Mapping[str, Any], name: str) -> Any:
    first, _, rest = name.partition(".")
    value = part.get(first)
    if not rest:
        return value
    return value.get(rest) if isinstance(value, dict) else None


def _positive(value: Any, name: str, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misconfigured(f"{name} must be a number", field=place)
    if not 0 < value <= _MAX_DIMENSION or value != int(value):
        raise Misconfigured(
            f"{name} must be a whole number from 1 to {_MAX_DIMENSION}", field=place
        )
    return int(value)
