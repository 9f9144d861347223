"""A model's shape: the dimensions and sizes that decide how much memory it takes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.weights import exl2_architecture, exl3_architecture
from forebay.workers.engines.weights.architecture import (
    Architecture,
    GpuEngineName,
    named_architecture,
)
from forebay.workers.engines.weights.computation import (
    attended_context,
    check_computation,
    check_layer_kinds,
    named_parts,
)
from forebay.workers.engines.weights.dimensions import numbers
from forebay.workers.engines.weights.headers import Tensor, read_object, read_tensors
from forebay.workers.engines.weights.linear_attention import LinearAttention, linear_attention
from forebay.workers.engines.weights.rotary import check_rotary

Format = Literal["exl2", "gptq", "exl3", "fp16"]

#: The engines that load a format; the first is planned for if no engine is given.
_ENGINES: Mapping[Format, tuple[GpuEngineName, ...]] = {
    "exl2": ("exl2",), "gptq": ("exl2",), "exl3": ("exl3",), "fp16": ("exl2", "exl3"),
}  # fmt: skip
_QUANTIZED: Mapping[str, Format] = {"exl2": "exl2", "exl3": "exl3", "gptq": "gptq"}
_ARCHITECTURES: Mapping[GpuEngineName, Mapping[str, Architecture]] = {
    "exl2": exl2_architecture.ARCHITECTURES, "exl3": exl3_architecture.ARCHITECTURES,
}  # fmt: skip
_UNKNOWN: Mapping[GpuEngineName, str] = {
    "exl2": "is no architecture that exllamav2 knows; it knows",
    "exl3": "is no architecture whose memory under exllamav3 is planned; those are",
}

_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)\.")
_WIDE_FLOATS = {"F32", "F64"}
_FLOATS = {"F16", "BF16", *_WIDE_FLOATS}
_PACKED_SIGNS = (".su", ".sv")


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions and sizes that the VRAM planner needs.

    Attributes:
        architecture: the architecture in config.json.
        format: how the weights are stored.
        engine: the engine that loads the model.
        layers: decoder layers.
        hidden: width of the state.
        intermediate: width of the MLP, or of one expert.
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: width of one head.
        vocab: tokens.
        max_context: tokens that the model was trained for.
        experts: of each layer; 0 for a model without experts.
        experts_used: experts that work on one token.
        mlp_matrices: matrices of each MLP.
        rope_tables: tables of rotary positions on the card.
        wide_residual: the state between layers is FP32.
        inner_bytes: see `Architecture`.
        linear: the layers with linear attention, if there are any.
        weights_bytes: weights on the card.
        layers_bytes: weights of the decoder layers.
        trellis_weights: number of weights in the layers of an EXL3 model; 0 for other formats,
            whose headers do not tell.
        staged_bytes: unquantized weights of the module with most of them, which exllamav3 holds
            twice while it transposes them.
        embedding_bytes: the token embedding, in the computer's memory.
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
    engine: GpuEngineName = "exl2"
    experts_used: int = 0
    inner_bytes: int = 4
    linear: LinearAttention | None = None
    trellis_weights: int = 0
    staged_bytes: int = 0

    @property
    def cached_layers(self) -> int:
        """Layers that keep keys and values."""
        return self.layers - (self.linear.layers if self.linear else 0)

    @property
    def kv_width(self) -> int:
        """Width of the keys of one layer; the values have the same width."""
        return self.kv_heads * self.head_dim

    @property
    def q_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def bits(self) -> float:
        """Average bits of a weight of the decoder layers, scales included."""
        if self.trellis_weights:
            return 8 * self.layers_bytes / self.trellis_weights
        attention = self.hidden * (2 * self.q_width + 2 * self.kv_width)
        mlp = self.mlp_matrices * self.hidden * self.intermediate * max(self.experts, 1)
        return 8 * self.layers_bytes / (self.layers * (attention + mlp))

    @property
    def padded_vocab(self) -> int:
        """Tokens, rounded up to the unit of the output head's kernels."""
        unit = 32 if self.engine == "exl2" else 128
        return -(-self.vocab // unit) * unit


def read_shape(folder: Path, engine: GpuEngineName | None = None) -> Shape:
    """Read the shape of a model from config.json and the headers of its weights.

    Args:
        folder: of the model.
        engine: the engine to load it with; without it, the engine that its format is made for.

    Raises:
        Misconfigured: A file is missing or damaged, or the engine does not know the architecture or
            the format. The error names the file, and what to do.
    """
    _refuse_gguf(folder)
    shape = dimensions(folder, engine)
    kind = _ARCHITECTURES[shape.engine][shape.architecture]
    everything = read_tensors(folder)
    tensors = {key: tensor for key, tensor in everything.items() if kind.holds(key)}
    _check_layers(tensors, shape.layers, folder)
    on_card = {key: tensor for key, tensor in tensors.items() if not kind.embeds(key)}
    tied = not any(kind.heads(key) for key in tensors)
    if tied:
        _check_tied(folder / "config.json")
    head = 2 * shape.hidden * shape.padded_vocab if tied else 0  # the embedding, on the card too
    layers = {key: tensor for key, tensor in on_card.items() if _LAYER.search(key)}
    return replace(
        shape, weights_bytes=_bytes(on_card) + head, layers_bytes=_bytes(layers),
        trellis_weights=_trellis_weights(layers) if shape.format == "exl3" else 0,
        embedding_bytes=2 * shape.hidden * shape.vocab, staged_bytes=max(_staged(on_card), head),
    )  # fmt: skip


def dimensions(folder: Path, engine: GpuEngineName | None = None) -> Shape:
    """Read the dimensions from config.json alone; all sizes in bytes are 0.

    Raises:
        Misconfigured: See `read_shape`.
    """
    place = str(folder / "config.json")
    config = read_object(folder / "config.json")
    stored = _format(config, place)
    loader = _engine(stored, engine, place)
    name = named_architecture(config, field=place)
    known = _ARCHITECTURES[loader]
    if name not in known:
        message = f"{name[:64]!r} {_UNKNOWN[loader]} {', '.join(known)}"
        raise Misconfigured(message, field=place)
    kind, sizes = known[name], numbers(config, known[name], place)
    check_computation(config, loader, name, place)
    check_rotary(config, loader, place)
    if not kind.hybrid:
        check_layer_kinds(config, place)
    sizes["max_context"] = attended_context(config, loader, name, sizes["max_context"])
    linear = linear_attention(config, sizes["layers"], place) if kind.hybrid else None
    return Shape(
        architecture=name, format=stored, **sizes, engine=loader, linear=linear,
        mlp_matrices=kind.mlp_matrices, rope_tables=kind.rope_tables,
        wide_residual=kind.wide_residual, inner_bytes=kind.inner_bytes,
    )  # fmt: skip


def _refuse_gguf(folder: Path) -> None:
    """Refuse GGUF, which the llamacpp engine runs on the CPU: its memory is not planned."""
    files = [folder] if folder.is_file() else [*folder.glob("*.gguf")]
    if any(file.suffix == ".gguf" for file in files) and not any(folder.glob("*.safetensors")):
        message = (
            "is GGUF, which is not planned: llamacpp runs it on the CPU (FOREBAY_ENGINE=llamacpp, "
            "FOREBAY_MODEL_FILE); for a GPU take an EXL2 or EXL3 conversion of the model"
        )
        raise Misconfigured(message, field=str(folder))


def _format(config: Mapping[str, Any], place: str) -> Format:
    quantization = config.get("quantization_config")
    if quantization is None:
        return "fp16"
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if (stored := _QUANTIZED.get(str(method))) is not None:
        if stored == "gptq":
            _check_gptq(quantization, place)
        return stored
    raise Misconfigured(
        f"quant_method must be exl2, exl3 or gptq, or absent, and is {str(method)[:32]!r}, "
        "which no engine here loads: take an EXL2 or EXL3 conversion of the model", field=place
    )  # fmt: skip


def _check_gptq(quantization: Mapping[str, Any], place: str) -> None:
    """Refuse the kinds of GPTQ that exllamav2 does not load."""
    readable = {"bits": (None, 4), "checkpoint_format": (None, "", "gptq", "gptq_v2")}
    for name, values in readable.items():
        value = quantization.get(name)
        if value not in values:
            message = f"quantization_config.{name} must be {values[-1]}, not {str(value)[:32]}"
            raise Misconfigured(message, field=place)


def _check_tied(config_file: Path) -> None:
    """Refuse a model without an output head if config.json says that it has its own."""
    for part, prefix in named_parts(read_object(config_file)):
        if part.get("tie_word_embeddings") is False:
            message = (
                f"{prefix}tie_word_embeddings is false, and the weights hold no output head; "
                "is a file missing?"
            )
            raise Misconfigured(message, field=str(config_file))


def _engine(stored: Format, wanted: GpuEngineName | None, place: str) -> GpuEngineName:
    able = _ENGINES[stored]
    if wanted and wanted not in able:
        message = f"says {stored}, which {wanted} does not load: FOREBAY_ENGINE={able[0]}"
        raise Misconfigured(message, field=place)
    return wanted or able[0]


def _check_layers(tensors: Iterable[str], layers: int, folder: Path) -> None:
    """Check that every layer has weights: a file may be missing without an index that names it."""
    present = {int(match[1]) for key in tensors if (match := _LAYER.search(key))}
    missing = sorted(set(range(layers)) - present)
    if missing:
        message = f"holds no weights of layer {missing[0]} of {layers}; is a file missing?"
        raise Misconfigured(message, field=str(folder))


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of tensors on the card."""
    return sum(_on_card(key, tensor) for key, tensor in tensors.items())


def _on_card(key: str, tensor: Tensor) -> int:
    if tensor.dtype in _WIDE_FLOATS:  # they become FP16
        return tensor.elements * 2
    if key.endswith(_PACKED_SIGNS):  # of old EXL3 models: a sign of one bit becomes FP16
        return tensor.size * 16
    return tensor.size


def _trellis_weights(tensors: Mapping[str, Tensor]) -> int:
    """Count the weights: a trellis of shape (m, n, b) is m * n tiles of 16 * 16 weights."""
    return sum(
        256 * math.prod(tensor.shape[:2]) if key.endswith(".trellis") else tensor.elements
        for key, tensor in tensors.items()
        if len(tensor.shape) > 1
    )


def _staged(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of unquantized matrices of the layer, or head, with most of them."""
    sizes: Counter[str] = Counter()
    for key, tensor in tensors.items():
        if tensor.dtype in _FLOATS and len(tensor.shape) > 1:
            layer = _LAYER.search(key)
            sizes[layer[1] if layer else ""] += tensor.size
    return max(sizes.values(), default=0)
