"""What an architecture's tensors are called, and what else of it decides what memory it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from forebay.routing.errors import Misconfigured

GpuEngineName = Literal["exl2", "exl3"]


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
        inner_bytes: what one column inside an MLP takes for each token of a prompt, the gate, what
            it gates and the product together; exllamav3 keeps some of them in FP32.
        hybrid: most layers have linear attention, and the others gate what theirs brings.
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
        """Whether a tensor of this name is the language model's."""
        return name.startswith(self._named((*self.body, *self.head)))

    def embeds(self, name: str) -> bool:
        """Whether it is the token embedding's."""
        return name.startswith(self._named(self.embedding))

    def heads(self, name: str) -> bool:
        """Whether it is the output head's."""
        return name.startswith(self._named(self.head))

    def _named(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.prefix + name for name in names)


def named_architecture(config: Mapping[str, Any], *, field: str) -> str:
    """The one architecture that a config.json names.

    Raises:
        Misconfigured: It names none, or several.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise Misconfigured("must name exactly one architecture", field=field)
    return str(names[0])
