"""Whether a model, its cache and its batch fit a card, and what would: the 16 GB planner.

It needs `forebay.workers.engines.weights.model_shape` alone, so it runs before anything is loaded, and without a card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.vram import exl2_footprint, exl3_footprint
from forebay.workers.engines.vram.footprint import CHUNK, PAGE, CacheMode, Footprint
from forebay.workers.engines.weights.architecture import GpuEngineName
from forebay.workers.engines.weights.model_shape import Shape

CONTEXT = 16_384  # the longest job that is planned for where nobody asks for more
TYPICAL = 4_096  # tokens of a job, prompt and answer; no plan of our own allows for less, if it can
BATCH = 16  # jobs at once that a card should hold
MAX_SLOTS = 32  # jobs at once; more of them would want whole matrices unpacked, and more scratch
TOLERANCE = 0.05

#: Of a cache mode that nobody asked for: it is taken if so many typical jobs fit. q8 costs no
#: quality to speak of, so it goes before a full batch; q6 and q4 are for small cards.
_WANTED: tuple[tuple[int, CacheMode], ...] = (
    (BATCH, "fp16"), (4, "q8"), (4, "q6"), (4, "q4"), (1, "q4"),
)  # fmt: skip
_FOOTPRINTS: Mapping[GpuEngineName, Footprint] = {"exl2": exl2_footprint, "exl3": exl3_footprint}


@dataclass(frozen=True, slots=True)
class Choice:
    """A cache mode, a context and a batch that fit, and the cache for them."""

    cache_mode: CacheMode
    context: int
    batch: int
    cache_tokens: int
    max_dq_size: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model would lie on a card.

    Attributes:
        vram_bytes: of the card, for this model.
        cache_mode: how keys and values are kept.
        context: tokens of the longest job, prompt and answer.
        batch: jobs at once, each of which may be as long as `context`.
        cache_tokens: of the cache that all jobs share: what they need, and as much again for
            prefixes that outlive their jobs, as far as there is room.
        max_dq_size: to set on exllamav2's config before the model is loaded; None for exllamav3.
        parts: bytes by name.
        bound: bytes of them that are the most that may be needed, and may not show.
        recommended: the plan itself where it fits, else the largest that would; None where no
            cache fits beside the weights.
    """

    vram_bytes: int
    cache_mode: CacheMode
    context: int
    batch: int
    cache_tokens: int
    max_dq_size: int | None
    parts: Mapping[str, int]
    bound: int
    recommended: Choice | None

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def expected_bytes(self) -> int:
        """What a running model should be seen to take, or less by `bound`: all but the slack."""
        return self.total_bytes - self.parts["slack"]

    @property
    def fits(self) -> bool:
        """Whether a worker may start on it."""
        return self.total_bytes <= self.vram_bytes

    def refusal(self) -> str:
        """Why a worker does not start on this plan, and on which it would."""
        wanted = f"{self.batch} jobs of {self.context} tokens in a {self.cache_mode} cache"
        sizes = f"{self.total_bytes >> 20} MiB, the card has {self.vram_bytes >> 20}"
        other = self.recommended
        advice = "take a smaller model, or fewer bits" if other is None else (
            f"cache mode {other.cache_mode}, context {other.context}, batch {other.batch} would fit"
        )  # fmt: skip
        return f"the model with {wanted} takes {sizes}; {advice}"


def plan(
    shape: Shape, vram_bytes: int, *, cache_mode: CacheMode | None = None,
    context: int | None = None, batch: int | None = None, chunk: int = CHUNK,
) -> Plan:  # fmt: skip
    """How the model would lie on a card; what is left open is chosen.

    Args:
        shape: of the model.
        vram_bytes: of the card's memory, for this model.
        cache_mode: how keys and values are kept.
        context: tokens of the longest job, prompt and answer.
        batch: jobs at once, each of them as long.
        chunk: tokens of a prompt that are worked at once.

    Raises:
        Misconfigured: The context is longer than the model's own, or a number is below 1.
    """
    _possible(shape, context, batch, chunk)
    search = _Search(shape, vram_bytes, chunk)
    found = search.best(cache_mode, context, batch)
    wanted = found or search.wish(cache_mode, context, batch)
    sums = footprint_of(shape)
    parts = sums.fixed_parts(shape, wanted.context, wanted.batch, chunk)
    parts["cache"] = wanted.cache_tokens * sums.kv_bytes_per_token(shape, wanted.cache_mode)
    bound = sum(parts[name] for name in sums.BOUNDS)
    return Plan(
        vram_bytes, wanted.cache_mode, wanted.context, wanted.batch, wanted.cache_tokens,
        wanted.max_dq_size, MappingProxyType(parts), bound,
        found or search.nearest(cache_mode, context),
    )  # fmt: skip


def footprint_of(shape: Shape) -> Footprint:
    """The sums of the engine that loads the model."""
    return _FOOTPRINTS[shape.engine]


def max_cache_tokens(
    shape: Shape, vram_bytes: int, mode: CacheMode, *, context: int, batch: int, chunk: int = CHUNK
) -> int:
    """Tokens of cache for which the card has room beside the rest: whole pages, or 0."""
    sums = footprint_of(shape)
    room = vram_bytes - sum(sums.fixed_parts(shape, context, batch, chunk).values())
    return max(room // sums.kv_bytes_per_token(shape, mode) // PAGE * PAGE, 0)


def longest(shape: Shape) -> int:
    """The context that is planned for where nobody asks for one, if there is room."""
    return min(shape.max_context, CONTEXT)


def check(plan: Plan, measured_bytes: int) -> str | None:
    """What to log where a running model takes another amount of memory than planned, if it does.

    `measured_bytes` is what the process holds on the card after warm-up, all included.
    """
    expected = plan.expected_bytes
    least, most = (expected - plan.bound) * (1 - TOLERANCE), expected * (1 + TOLERANCE)
    if least <= measured_bytes <= most:
        return None
    return (
        f"this process holds {measured_bytes >> 20} MiB of the card, "
        f"{measured_bytes / expected - 1:+.0%} beside the planned {expected >> 20} MiB"
    )


def paged(tokens: int) -> int:
    """Tokens of cache that a job of so many takes."""
    return -(-tokens // PAGE) * PAGE


@dataclass(frozen=True, slots=True)
class _Search:
    """Looks for what fits one card."""

    shape: Shape
    vram_bytes: int
    chunk: int

    def best(self, mode: CacheMode | None, context: int | None, batch: int | None) -> Choice | None:
        """The best that fits, of what is left open."""
        steps = _WANTED if mode is None else ((BATCH, mode), (1, mode))
        for jobs, one in steps:
            length = context or self._context(one, batch)
            if self._jobs(one, length, batch) >= (batch or jobs):
                return self._choice(one, length, batch)
        if context:
            return None
        last = mode or "q4"
        short = (length for length in self._shorter() if self._jobs(last, length, batch))
        return next((self._choice(last, length, batch) for length in short), None)

    def nearest(self, mode: CacheMode | None, context: int | None) -> Choice | None:
        """The largest that fits where the wish does not: with fewer jobs, then with less else."""
        fewer = self.best(mode, context, None)
        return fewer or self.best(None, context, None) or self.best(None, None, None)

    def wish(self, mode: CacheMode | None, context: int | None, batch: int | None) -> Choice:
        """The least that was asked for, whether it fits or not."""
        length = context or min(longest(self.shape), TYPICAL)
        need = (batch or 1) * self._paged(length)
        return self._chosen(mode or "q4", length, batch or 1, need)

    def _choice(self, mode: CacheMode, context: int, batch: int | None) -> Choice:
        jobs = self._jobs(mode, context, batch)
        tokens = min(self._room(mode, context, jobs), 2 * jobs * self._paged(context))
        return self._chosen(mode, context, jobs, tokens)

    def _chosen(self, mode: CacheMode, context: int, jobs: int, tokens: int) -> Choice:
        dq_size = footprint_of(self.shape).max_dq_size(self.shape)
        return Choice(mode, context, jobs, tokens, dq_size)

    def _paged(self, context: int) -> int:
        """Tokens of cache that the longest job takes."""
        return paged(context + footprint_of(self.shape).SPARE)

    def _context(self, mode: CacheMode, batch: int | None) -> int:
        """The longest with which a whole batch fits, from long to typical."""
        length = longest(self.shape)
        while length > TYPICAL and self._jobs(mode, length, batch) < (batch or BATCH):
            length = max(length // 2, TYPICAL)
        return length

    def _shorter(self) -> Iterator[int]:
        length = min(longest(self.shape), TYPICAL)
        while (length := length // 2) >= PAGE:
            yield length

    def _jobs(self, mode: CacheMode, context: int, batch: int | None) -> int:
        """How many jobs of this length fit; asked for a batch, all of it or none."""
        if batch:
            return batch if self._holds(mode, context, batch) else 0
        return next((n for n in range(MAX_SLOTS, 0, -1) if self._holds(mode, context, n)), 0)

    def _holds(self, mode: CacheMode, context: int, batch: int) -> bool:
        return self._room(mode, context, batch) >= batch * self._paged(context)

    def _room(self, mode: CacheMode, context: int, batch: int) -> int:
        return max_cache_tokens(
            self.shape, self.vram_bytes, mode, context=context, batch=batch, chunk=self.chunk
        )


def _possible(shape: Shape, context: int | None, batch: int | None, chunk: int) -> None:
    numbers = {"context": context, "batch": batch, "chunk": chunk}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise Misconfigured("must be 1 or more", field=name)
    if context and context > shape.max_context:
        message = f"must be at most {shape.max_context}, which the model was trained for"
        raise Misconfigured(message, field="context")
