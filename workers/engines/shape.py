"""A model's dimensions and sizes in bytes: all that decides how much memory it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from routing.errors import Misconfigured

from .architecture import ARCHITECTURES, Architecture, architecture
from .headers import Tensor, read_object, read_tensors

Format = Literal["exl2", "gptq", "fp16"]

_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)\.")
_LARGEST = 1 << 24  # no dimension of any model comes near it

#: What each number is called in config.json, in the order in which exllamav2 looks.
_NAMES = {
    "layers": ("num_hidden_layers", "n_layers", "n_layer"),
    "hidden": ("hidden_size", "d_model", "n_embd"),
    "intermediate": ("intermediate_size", "ffn_config.ffn_hidden_size", "n_inner"),
    "moe_intermediate": ("moe_intermediate_size",),
    "experts": ("num_local_experts", "ffn_config.moe_num_experts", "num_experts"),
    "heads": ("num_attention_heads", "n_heads", "n_head"),
    "kv_heads": ("num_key_value_heads", "attn_config.kv_n_heads"),
    "head_dim": ("head_dim",),
    "vocab": ("vocab_size",),
    "max_context": (
        "max_sequence_length", "model_max_length", "max_position_embeddings", "max_seq_len",
        "n_positions",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """What `workers.engines.vram` needs to know of a model.

    Attributes:
        architecture: as config.json names it.
        format: how the weights are stored.
        layers: decoder layers.
        hidden: width of the state.
        intermediate: width of the MLP, of one expert where there are several.
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: width of one head.
        vocab: tokens.
        max_context: tokens that the model was trained for.
        experts: of each layer; 0 for a model without.
        rope_tables: tables of rotary positions on the card.
        wide_residual: the state between layers is FP32.
        weights_bytes: on the card.
        embedding_bytes: of the token embedding, in the computer's memory.
        bits: average bits of a weight of the decoder layers, scales included.
    """

    architecture: str
    format: Format
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_context: int
    weights_bytes: int = 0
    layers_bytes: int = 0
    embedding_bytes: int = 0
    experts: int = 0
    mlp_matrices: int = 3
    rope_tables: int = 1
    wide_residual: bool = False

    @property
    def kv_width(self) -> int:
        """Numbers that one layer keeps of one token: as many keys, and as many values."""
        return self.kv_heads * self.head_dim

    @property
    def q_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def bits(self) -> float:
        """Average bits of a weight of the decoder layers, scales included."""
        attention = self.hidden * (2 * self.q_width + 2 * self.kv_width)
        mlp = self.mlp_matrices * self.hidden * self.intermediate * max(self.experts, 1)
        return 8 * self.layers_bytes / (self.layers * (attention + mlp))

    @property
    def padded_vocab(self) -> int:
        """Tokens, rounded up to what the kernels of the output head take."""
        return -(-self.vocab // 32) * 32


def read_shape(folder: Path) -> Shape:
    """The shape of the model in this folder, from config.json and the headers of its weights.

    Raises:
        Misconfigured: A file is missing or damaged, or exllamav2 does not know the architecture or
            the format. The error names the file.
    """
    shape = dimensions(folder)
    kind = ARCHITECTURES[shape.architecture]
    tensors = _loaded(read_tensors(folder), kind)
    _whole(tensors, shape.layers, folder)
    embedding = kind.prefix + kind.embedding
    on_card = {key: tensor for key, tensor in tensors.items() if not key.startswith(embedding)}
    tied = not any(key.startswith(kind.prefix + kind.head) for key in tensors)
    head = (
        2 * shape.hidden * shape.padded_vocab if tied else 0
    )  # the embedding, on the card as well
    return replace(
        shape, weights_bytes=_bytes(on_card.values()) + head,
        layers_bytes=_bytes(one for key, one in on_card.items() if _LAYER.search(key)),
        embedding_bytes=2 * shape.hidden * shape.vocab,
    )  # fmt: skip


def dimensions(folder: Path) -> Shape:
    """What config.json alone says; all sizes in bytes are 0.

    Raises:
        Misconfigured: As `read_shape`.
    """
    place = str(folder / "config.json")
    config = read_object(folder / "config.json")
    name, kind = architecture(config, field=place)
    return Shape(
        architecture=name, format=_format(config, place), **_numbers(config, kind, place),
        mlp_matrices=kind.mlp_matrices, rope_tables=kind.rope_tables,
        wide_residual=kind.wide_residual,
    )  # fmt: skip


def _format(config: Mapping[str, Any], place: str) -> Format:
    quantization = config.get("quantization_config")
    if quantization is None:
        return "fp16"
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if method == "exl2":
        return "exl2"
    if method == "gptq":
        return "gptq"
    raise Misconfigured("quant_method must be exl2 or gptq, or not be there", field=place)


def _numbers(config: Mapping[str, Any], kind: Architecture, place: str) -> dict[str, int]:
    """The dimensions, those that config.json leaves out filled in as exllamav2 does."""
    known: dict[str, int] = dict(kind.defaults)
    known |= {key: found for key in _NAMES if (found := _number(config, key, place)) is not None}
    if kind.inner_factor and "hidden" in known:
        known.setdefault("intermediate", kind.inner_factor * known["hidden"])
    known["experts"] = known.get("experts", 0)
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


def _number(config: Mapping[str, Any], key: str, place: str) -> int | None:
    """The first of a number's names that says something, here or in the part for text."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for name in _NAMES[key]:
            found = _within(part, name)
            if found is not None:
                return _positive(found, name, place)
    return None


def _within(part: Mapping[str, Any], name: str) -> Any:
    first, _, rest = name.partition(".")
    found = part.get(first)
    return found if not rest else found.get(rest) if isinstance(found, dict) else None


def _positive(value: Any, name: str, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misconfigured(f"{name} must be a number", field=place)
    if not 0 < value <= _LARGEST or value != int(value):
        raise Misconfigured(f"{name} must be a whole number from 1 to {_LARGEST}", field=place)
    return int(value)


def _loaded(tensors: Mapping[str, Tensor], kind: Architecture) -> dict[str, Tensor]:
    """Those of the language model; a vision tower or a second copy of the weights is not loaded."""
    names = tuple(kind.prefix + name for name in (*kind.body, kind.head))
    return {key: tensor for key, tensor in tensors.items() if key.startswith(names)}


def _whole(tensors: Iterable[str], layers: int, folder: Path) -> None:
    """A shard that no index names can be missing all the same."""
    found = {int(match[1]) for key in tensors if (match := _LAYER.search(key))}
    missing = sorted(set(range(layers)) - found)
    if missing:
        message = f"holds no weights of layer {missing[0]} of {layers}; is a file missing?"
        raise Misconfigured(message, field=str(folder))


def _bytes(tensors: Iterable[Tensor]) -> int:
    """On the card, where FP32 weights become FP16."""
    wide = {"F32", "F64"}
    return sum(one.elements * 2 if one.dtype in wide else one.size for one in tensors)
