"""The memory footprint of a model: what the sums of both GPU engines have in common.

The sums themselves are in `exl2_footprint` and `exl3_footprint`, each after its library's source.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

from forebay.workers.engines.weights.model_shape import Shape

CacheMode = Literal["fp16", "q8", "q6", "q4"]
MODES: tuple[CacheMode, ...] = get_args(CacheMode)
MIB = 1 << 20

CHUNK = 2_048  # tokens of a prompt that one step works on, the default of both libraries
PAGE = 256  # tokens; a job takes whole pages of the cache
CUDA_CONTEXT = 500 * MIB
SLACK = 300 * MIB


class Footprint(Protocol):
    """The sums of one engine; its module implements this.

    Attributes:
        SPARE: tokens of the cache that each job needs beyond its own.
        BOUNDS: names of the parts that are upper bounds: a model may run for long with less.
    """

    @property
    def SPARE(self) -> int: ...  # noqa: D102, N802 - see the class; a module's constant

    @property
    def BOUNDS(self) -> tuple[str, ...]: ...  # noqa: D102, N802 - see above

    def kv_bytes_per_token(self, shape: Shape, mode: CacheMode) -> int:
        """Return the bytes of one token in the cache, and of whatever grows with the cache."""

    def fixed_parts(self, shape: Shape, context: int, batch: int, chunk: int) -> dict[str, int]:
        """Return the bytes of every part but the cache by name, `scratch` and `slack` included."""

    def max_dq_size(self, shape: Shape) -> int | None:
        """Return the `max_dq_size` to set on exllamav2; `None` for an engine without it."""
