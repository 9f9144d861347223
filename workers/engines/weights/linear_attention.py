"""Linear attention: layers that keep a state of fixed size for each job, not keys and values."""

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
_FULL_ATTENTION_INTERVAL = 4  # one layer of so many keeps keys and values
_KINDS = ("linear_attention", "full_attention")


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """The layers with linear attention; all have the same dimensions.

    Attributes:
        layers: how many layers have it.
        key_heads: heads of the keys.
        value_heads: heads of the values.
        key_dim: width of a key head.
        value_dim: width of a value head.
        kernel: tokens that the convolution before the attention sees.
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
    """Return the layers in config.json, with the defaults of exllamav3's architecture/qwen3_5.py.

    Args:
        config: the object in config.json.
        layers: all layers of the model.
        place: names config.json in errors.

    Raises:
        Misconfigured: A number is no positive whole number, or `layer_types` is wrong.
    """
    given = {key: number(config, (name,), place) for key, name in _NAMES.items()}
    known = {key: given[key] or default for key, default in _DEFAULTS.items()}
    return LinearAttention(layers=layers - _cached_layers(config, layers, place), **known)


def _cached_layers(config: Mapping[str, Any], layers: int, place: str) -> int:
    """Return how many layers keep keys and values."""
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
    return layers // (
        number(config, ("full_attention_interval",), place) or _FULL_ATTENTION_INTERVAL
    )
