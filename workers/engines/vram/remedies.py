"""Changes that make a plan fit: one thing at a time, and as little as helps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.workers.engines.vram.footprint import MODES, PAGE, CacheMode
from forebay.workers.engines.vram.planner import Plan, plan
from forebay.workers.engines.weights.architecture import GpuEngineName
from forebay.workers.engines.weights.model_shape import Shape

MIN_BITS: Mapping[GpuEngineName, float] = {"exl2": 2.0, "exl3": 1.0}  # that the converters make


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change after which the rest of the plan fits; the other attributes are `None`.

    Attributes:
        cache_mode: the best mode that is small enough.
        context: the longest context, in tokens.
        batch: the largest batch, in jobs.
        bits: the most bits of a weight, for another conversion of the model.
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
    """Return each single change that helps; an empty list if only a smaller model does."""

    def fits(remedy: Remedy) -> bool:
        return plan(
            shape, refused.vram_bytes, cache_mode=remedy.cache_mode or refused.cache_mode,
            context=remedy.context or refused.context, batch=remedy.batch or refused.batch,
        ).fits  # fmt: skip

    def largest(changes: Sequence[Remedy]) -> Remedy | None:
        """Return the last change that fits, of changes in order of the memory they take."""
        count = bisect_right(changes, False, key=lambda remedy: not fits(remedy))
        return changes[count - 1] if count else None

    smaller = (Remedy(cache_mode=mode) for mode in MODES[MODES.index(refused.cache_mode) + 1 :])
    candidates = [
        next((remedy for remedy in smaller if fits(remedy)), None),
        largest([Remedy(context=n) for n in range(PAGE, refused.context, PAGE)]),
        largest([Remedy(batch=n) for n in range(1, refused.batch)]),
        _fewer_bits(shape, refused),
    ]
    return [remedy for remedy in candidates if remedy]


def _fewer_bits(shape: Shape, refused: Plan) -> Remedy | None:
    """Return the bits with which the layers fit; the output head keeps its own."""
    excess = refused.total_bytes - refused.vram_bytes
    fitting = replace(shape, layers_bytes=max(shape.layers_bytes - excess, 0)).bits
    bits = int(fitting * 100) / 100
    return Remedy(bits=bits) if bits >= MIN_BITS[shape.engine] else None
