"""What of a card's memory each part of a model takes: what both GPU engines' sums have in common.

The sums themselves are in `exl2_footprint` and `exl3_footprint`, each after its library's source.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

from forebay.workers.engines.weights.model_shape import Shape

CacheMode = Literal["fp16", "q8", "q6", "q4"]
MODES: tuple[CacheMode, ...] = get_args(CacheMode)
MIB = 1 << 20

CHUNK = 2_048  # tokens of a prompt that are worked at once, by default of both libraries
PAGE = 256  # tokens; a job takes whole pages of the cache
CUDA_CONTEXT = 500 * MIB
SLACK = 300 * MIB


class Footprint(Protocol):
    """The sums of one engine; a module is one.

    Attributes:
        SPARE: tokens of the cache that each job needs beside its own.
        BOUNDS: parts that are the most that may be needed: a model may run for long in less.
    """

    @property
    def SPARE(self) -> int: ...  # noqa: D102, N802 - see the class; a module's constant

    @property
    def BOUNDS(self) -> tuple[str, ...]: ...  # noqa: D102, N802 - see above

    def kv_bytes_per_token(self, shape: Shape, mode: CacheMode) -> int:
        """Bytes of one token in the cache, with what grows with the cache beside it."""

    def fixed_parts(self, shape: Shape, context: int, batch: int, chunk: int) -> dict[str, int]:
        """Bytes of every part but the cache, by name: `scratch` and `slack` are among them."""

    def max_dq_size(self, shape: Shape) -> int | None:
        """What exllamav2 should be set to; None where there is no such setting."""
