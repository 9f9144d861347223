"""What to change where a plan does not fit: one thing at a time, as little as helps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.workers.engines.vram.footprint import MODES, PAGE, CacheMode
from forebay.workers.engines.vram.planner import Plan, plan
from forebay.workers.engines.weights.architecture import GpuEngineName
from forebay.workers.engines.weights.model_shape import Shape

LEAST_BITS: Mapping[GpuEngineName, float] = {"exl2": 2.0, "exl3": 1.0}  # what their converters make


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change after which the rest of the plan fits as it is; all others are None.

    Attributes:
        cache_mode: the best that is small enough.
        context: the longest.
        batch: the largest.
        bits: of a weight, the most, for another conversion of the model.
    """

    cache_mode: CacheMode | None = None
    context: int | None = None
    batch: int | None = None
    bits: float | None = None

    def __str__(self) -> str:
        if self.bits is not None:
            return f"convert the model with {self.bits:.2f} bits a weight or fewer"
        if self.cache_mode is not None:
            return f"--cache-mode {self.cache_mode}"
        return f"--context {self.context}" if self.context else f"--batch {self.batch}"


def remedies(shape: Shape, refused: Plan) -> list[Remedy]:
    """Each single change that helps; none where nothing but a smaller model does."""

    def fits(changed: Remedy) -> bool:
        return plan(
            shape, refused.vram_bytes, cache_mode=changed.cache_mode or refused.cache_mode,
            context=changed.context or refused.context, batch=changed.batch or refused.batch,
        ).fits  # fmt: skip

    def largest(changes: Sequence[Remedy]) -> Remedy | None:
        """The last that fits, of changes each of which takes more than the one before."""
        count = bisect_right(changes, False, key=lambda one: not fits(one))
        return changes[count - 1] if count else None

    smaller = (Remedy(cache_mode=mode) for mode in MODES[MODES.index(refused.cache_mode) + 1 :])
    found = [
        next((one for one in smaller if fits(one)), None),
        largest([Remedy(context=n) for n in range(PAGE, refused.context, PAGE)]),
        largest([Remedy(batch=n) for n in range(1, refused.batch)]),
        _fewer_bits(shape, refused),
    ]
    return [one for one in found if one]


def _fewer_bits(shape: Shape, refused: Plan) -> Remedy | None:
    """Of the layers alone: the output head keeps its own."""
    over = refused.total_bytes - refused.vram_bytes
    left = replace(shape, layers_bytes=max(shape.layers_bytes - over, 0)).bits
    bits = int(left * 100) / 100
    return Remedy(bits=bits) if bits >= LEAST_BITS[shape.engine] else None
