"""The VRAM planner: whether a model, its cache and its batch fit a card, and which would.

It needs the model's shape alone, so it runs without a card and before anything is loaded.
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

MAX_DEFAULT_CONTEXT = 16_384  # tokens of the longest job, if no context is asked for
TYPICAL_CONTEXT = 4_096  # tokens of a usual job; no chosen context is shorter if this one fits
FULL_BATCH = 16  # jobs at once that a card should hold
MAX_SLOTS = 32  # jobs at once; with more, whole matrices are unpacked, which takes more scratch
TOLERANCE = 0.05  # share by which the measured memory may differ from the plan

#: Cache modes in the order in which they are tried, and how many typical jobs each must hold. q8
#: loses no quality that matters, so it comes before a full batch; q6 and q4 are for small cards.
_MODE_ORDER: tuple[tuple[int, CacheMode], ...] = (
    (FULL_BATCH, "fp16"), (4, "q8"), (4, "q6"), (4, "q4"), (1, "q4"),
)  # fmt: skip
_FOOTPRINTS: Mapping[GpuEngineName, Footprint] = {"exl2": exl2_footprint, "exl3": exl3_footprint}


@dataclass(frozen=True, slots=True)
class Layout:
    """A cache mode, a context and a batch, and the cache for them.

    Attributes:
        cache_mode: how keys and values are stored.
        context: tokens of the longest job, prompt and answer.
        batch: jobs at once, each of which may be as long as `context`.
        cache_tokens: tokens of the cache that all jobs share: what they need, and as much again
            for prefixes that outlive their jobs, as far as there is room.
        max_dq_size: to set on exllamav2's config before the model is loaded; `None` for exllamav3.
    """

    cache_mode: CacheMode
    context: int
    batch: int
    cache_tokens: int
    max_dq_size: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The memory that a model with a layout takes on a card.

    Attributes:
        vram_bytes: memory of the card that this model may take.
        cache_mode: see `Layout`; so are `context`, `batch`, `cache_tokens` and `max_dq_size`.
        parts: bytes by name.
        bound: bytes of the parts that are upper bounds, and may not show.
        recommended: the layout of this plan if it fits, else the largest that fits; `None` if the
            card has no room for a cache beside the weights.
    """

    vram_bytes: int
    cache_mode: CacheMode
    context: int
    batch: int
    cache_tokens: int
    max_dq_size: int | None
    parts: Mapping[str, int]
    bound: int
    recommended: Layout | None

    @property
    def total_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())

    @property
    def expected_bytes(self) -> int:
        """Bytes that a running model should take, or up to `bound` less: all but the slack."""
        return self.total_bytes - self.parts["slack"]

    @property
    def fits(self) -> bool:
        """Whether a worker may start on this plan."""
        return self.total_bytes <= self.vram_bytes

    def refusal(self) -> str:
        """Say why a worker does not start on this plan, and which layout would fit."""
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
    """Plan a model on a card; choose what is not given.

    Args:
        shape: of the model.
        vram_bytes: memory of the card that this model may take.
        cache_mode: how keys and values are stored.
        context: tokens of the longest job, prompt and answer.
        batch: jobs at once, each as long as the context.
        chunk: tokens of a prompt that one step works on.

    Raises:
        Misconfigured: The context is longer than the model's own, or a number is below 1.
    """
    _check_numbers(shape, context, batch, chunk)
    search = _Search(shape, vram_bytes, chunk)
    fitting = search.best(cache_mode, context, batch)
    layout = fitting or search.minimum(cache_mode, context, batch)
    sums = footprint_of(shape)
    parts = sums.fixed_parts(shape, layout.context, layout.batch, chunk)
    parts["cache"] = layout.cache_tokens * sums.kv_bytes_per_token(shape, layout.cache_mode)
    bound = sum(parts[name] for name in sums.BOUNDS)
    return Plan(
        vram_bytes, layout.cache_mode, layout.context, layout.batch, layout.cache_tokens,
        layout.max_dq_size, MappingProxyType(parts), bound,
        fitting or search.nearest(cache_mode, context),
    )  # fmt: skip


def footprint_of(shape: Shape) -> Footprint:
    """Return the sums of the engine that loads the model."""
    return _FOOTPRINTS[shape.engine]


def max_cache_tokens(
    shape: Shape, vram_bytes: int, mode: CacheMode, *, context: int, batch: int, chunk: int = CHUNK
) -> int:
    """Return the tokens of cache that fit beside the other parts: whole pages, or 0."""
    sums = footprint_of(shape)
    room = vram_bytes - sum(sums.fixed_parts(shape, context, batch, chunk).values())
    return max(room // sums.kv_bytes_per_token(shape, mode) // PAGE * PAGE, 0)


def default_context(shape: Shape) -> int:
    """Return the longest context that is chosen if none is given."""
    return min(shape.max_context, MAX_DEFAULT_CONTEXT)


def check(plan: Plan, measured_bytes: int) -> str | None:
    """Return a warning if a running model takes another amount of memory than planned.

    Args:
        plan: the plan that the model was loaded on.
        measured_bytes: everything that the process holds on the card after warm-up.
    """
    expected = plan.expected_bytes
    low, high = (expected - plan.bound) * (1 - TOLERANCE), expected * (1 + TOLERANCE)
    if low <= measured_bytes <= high:
        return None
    return (
        f"this process holds {measured_bytes >> 20} MiB of the card, "
        f"{measured_bytes / expected - 1:+.0%} beside the planned {expected >> 20} MiB"
    )


def round_to_pages(tokens: int) -> int:
    """Return the tokens of cache that a job of so many tokens takes."""
    return -(-tokens // PAGE) * PAGE


@dataclass(frozen=True, slots=True)
class _Search:
    """Searches the layouts that fit one card."""

    shape: Shape
    vram_bytes: int
    chunk: int

    def best(self, mode: CacheMode | None, context: int | None, batch: int | None) -> Layout | None:
        """Return the best layout that fits, with all that is given; `None` if none fits."""
        order = _MODE_ORDER if mode is None else ((FULL_BATCH, mode), (1, mode))
        for jobs, tried in order:
            length = context or self._context(tried, batch)
            if self._jobs(tried, length, batch) >= (batch or jobs):
                return self._layout(tried, length, batch)
        if context:
            return None
        last = mode or "q4"
        short = (length for length in self._short_contexts() if self._jobs(last, length, batch))
        return next((self._layout(last, length, batch) for length in short), None)

    def nearest(self, mode: CacheMode | None, context: int | None) -> Layout | None:
        """Return the largest layout that fits: with fewer jobs, else another mode or context."""
        fewer_jobs = self.best(mode, context, None)
        return fewer_jobs or self.best(None, context, None) or self.best(None, None, None)

    def minimum(self, mode: CacheMode | None, context: int | None, batch: int | None) -> Layout:
        """Return the smallest layout with all that is given, whether it fits or not."""
        length = context or min(default_context(self.shape), TYPICAL_CONTEXT)
        tokens = (batch or 1) * self._cache_tokens(length)
        return self._make_layout(mode or "q4", length, batch or 1, tokens)

    def _layout(self, mode: CacheMode, context: int, batch: int | None) -> Layout:
        jobs = self._jobs(mode, context, batch)
        tokens = min(self._room(mode, context, jobs), 2 * jobs * self._cache_tokens(context))
        return self._make_layout(mode, context, jobs, tokens)

    def _make_layout(self, mode: CacheMode, context: int, jobs: int, tokens: int) -> Layout:
        dq_size = footprint_of(self.shape).max_dq_size(self.shape)
        return Layout(mode, context, jobs, tokens, dq_size)

    def _cache_tokens(self, context: int) -> int:
        """Return the tokens of cache that the longest job takes."""
        return round_to_pages(context + footprint_of(self.shape).SPARE)

    def _context(self, mode: CacheMode, batch: int | None) -> int:
        """Return the longest context with which a whole batch fits, but no less than typical."""
        length = default_context(self.shape)
        while length > TYPICAL_CONTEXT and self._jobs(mode, length, batch) < (batch or FULL_BATCH):
            length = max(length // 2, TYPICAL_CONTEXT)
        return length

    def _short_contexts(self) -> Iterator[int]:
        length = min(default_context(self.shape), TYPICAL_CONTEXT)
        while (length := length // 2) >= PAGE:
            yield length

    def _jobs(self, mode: CacheMode, context: int, batch: int | None) -> int:
        """Return how many jobs of this length fit; of a given batch, all or none."""
        if batch:
            return batch if self._holds(mode, context, batch) else 0
        return next((n for n in range(MAX_SLOTS, 0, -1) if self._holds(mode, context, n)), 0)

    def _holds(self, mode: CacheMode, context: int, batch: int) -> bool:
        return self._room(mode, context, batch) >= batch * self._cache_tokens(context)

    def _room(self, mode: CacheMode, context: int, batch: int) -> int:
        return max_cache_tokens(
            self.shape, self.vram_bytes, mode, context=context, batch=batch, chunk=self.chunk
        )


def _check_numbers(shape: Shape, context: int | None, batch: int | None, chunk: int) -> None:
    numbers = {"context": context, "batch": batch, "chunk": chunk}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise Misconfigured("must be 1 or more", field=name)
    if context and context > shape.max_context:
        message = f"must be at most {shape.max_context}, which the model was trained for"
        raise Misconfigured(message, field="context")
