"""A model architecture: the names of its tensors, and what else decides its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from forebay.routing.errors import Misconfigured

GpuEngineName = Literal["exl2", "exl3"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """The names of a model's tensors, and the dimensions that its config.json may leave out.

    Attributes:
        prefix: of the names of all tensors of the language model; other tensors (a vision tower,
            a projector) are not loaded.
        body: follows the prefix, for all tensors but the output head.
        embedding: follows the prefix, for the token embedding, which stays in main memory.
        head: follows the prefix, for the output head.
        rope_tables: tables of rotary positions on the card (2 if sliding layers have their own).
        wide_residual: the state between layers is held in FP32, not FP16.
        mlp_matrices: of each MLP; 2 if it has no gate.
        defaults: dimensions that config.json may leave out.
        inner_factor: width of the MLP over the hidden size, if config.json leaves it out.
        inner_bytes: bytes of one column inside an MLP for each token of a prompt: the gate, its
            input and the product; exllamav3 holds some of them in FP32.
        hybrid: most layers have linear attention, and the others gate their output.
    """

    prefix: str = ""
    body: tuple[str, ...] = ("model.",)
    embedding: tuple[str, ...] = ("model.embed_tokens.",)
    head: tuple[str, ...] = ("lm_head.",)
    rope_tables: int = 1
    wide_residual: bool = False
    mlp_matrices: int = 3
    defaults: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    inner_factor: int | None = None
    inner_bytes: int = 4
    hybrid: bool = False

    def holds(self, name: str) -> bool:
        """Return whether a tensor of this name belongs to the language model."""
        return name.startswith(self._named((*self.body, *self.head)))

    def embeds(self, name: str) -> bool:
        """Return whether a tensor of this name belongs to the token embedding."""
        return name.startswith(self._named(self.embedding))

    def heads(self, name: str) -> bool:
        """Return whether a tensor of this name belongs to the output head."""
        return name.startswith(self._named(self.head))

    def _named(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.prefix + name for name in names)


def named_architecture(config: Mapping[str, Any], *, field: str) -> str:
    """Return the one architecture that a config.json names.

    Raises:
        Misconfigured: config.json names no architecture, or several.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise Misconfigured("must name exactly one architecture", field=field)
    return str(names[0])
