"""Layers with linear attention: a state of one size for each job, and no keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.weights.dimensions import number, parts

_DEFAULTS = {"key_heads": 16, "value_heads": 32, "key_dim": 128, "value_dim": 128, "kernel": 4}
_NAMES = {
    "key_heads": "linear_num_key_heads", "value_heads": "linear_num_value_heads",
    "key_dim": "linear_key_head_dim", "value_dim": "linear_value_head_dim",
    "kernel": "linear_conv_kernel_dim",
}  # fmt: skip
_INTERVAL = 4  # every so many layers one keeps keys and values
_KINDS = ("linear_attention", "full_attention")


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """Their number and dimensions, the same for all.

    Attributes:
        layers: with it.
        key_heads, value_heads: heads of each.
        key_dim, value_dim: width of one.
        kernel: tokens that the convolution before it sees.
    """

    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @property
    def keys(self) -> int:
        """Width of all keys together."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """Width of all values together."""
        return self.value_heads * self.value_dim

    @property
    def mixed(self) -> int:
        """Width of queries, keys and values together."""
        return 2 * self.keys + self.values


def linear_attention(config: Mapping[str, Any], layers: int, place: str) -> LinearAttention:
    """What config.json says, filled in as exllamav3 does (its architecture/qwen3_5.py).

    Raises:
        Misconfigured: A number is none, or the kinds of the layers cannot be told.
    """
    said = {key: number(config, (name,), place) for key, name in _NAMES.items()}
    known = {key: said[key] or default for key, default in _DEFAULTS.items()}
    return LinearAttention(layers=layers - _cached(config, layers, place), **known)


def _cached(config: Mapping[str, Any], layers: int, place: str) -> int:
    """Layers that keep keys and values."""
    for part in parts(config):
        kinds = part.get("layer_types")
        if kinds is not None:
            if (
                not isinstance(kinds, list)
                or len(kinds) != layers
                or not all(kind in _KINDS for kind in kinds)
            ):
                message = f"layer_types must say {' or '.join(_KINDS)} for each of {layers} layers"
                raise Misconfigured(message, field=place)
            return kinds.count("full_attention")
    return layers // (number(config, ("full_attention_interval",), place) or _INTERVAL)
