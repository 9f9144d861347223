"""Whether a model, its cache and its batch fit a card, and what would: the 16 GB planner.

It needs `workers.engines.shape` alone, so it runs before anything is loaded, and without a card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from routing.errors import Misconfigured

from .footprint import CHUNK, CacheMode, fixed_parts, kv_bytes_per_token, tuned_dq
from .shape import Shape

PAGE = 256  # tokens; a job takes whole pages of the cache
CONTEXT = 16_384  # the longest job that is planned for where nobody asks for more
TYPICAL = 4_096  # tokens of a job, prompt and answer; no plan of our own allows for less, if it can
BATCH = 16  # jobs at once that a card should hold
MOST = 32  # jobs at once; more of them would want whole matrices unpacked, and more scratch
TOLERANCE = 0.05

#: Of a cache mode that nobody asked for: it is taken if so many typical jobs fit. q8 costs no
#: quality to speak of, so it goes before a full batch; q6 and q4 are for small cards.
_WANTED: tuple[tuple[int, CacheMode], ...] = (
    (BATCH, "fp16"), (4, "q8"), (4, "q6"), (4, "q4"), (1, "q4"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """A cache mode, a context and a batch that fit, and the cache for them."""

    cache_mode: CacheMode
    context: int
    batch: int
    cache_tokens: int
    max_dq_size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model would lie on a card.

    Attributes:
        vram_bytes: of the card, for this model.
        cache_mode: how keys and values are kept.
        context: tokens of the longest job, prompt and answer; exllamav2's `max_seq_len`.
        batch: jobs at once, each of which may be as long as `context`.
        cache_tokens: of the cache that all jobs share: what they need, and as much again for
            prefixes that outlive their jobs, as far as there is room.
        max_dq_size: to set on exllamav2's config before the model is loaded.
        parts: bytes by name.
        recommended: the plan itself where it fits, else the largest that would; None where no
            cache fits beside the weights.
    """

    vram_bytes: int
    cache_mode: CacheMode
    context: int
    batch: int
    cache_tokens: int
    max_dq_size: int
    parts: Mapping[str, int]
    recommended: Choice | None

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def expected_bytes(self) -> int:
        """What a running model should be seen to take: all parts but the slack."""
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
        chunk: tokens of a prompt that are worked at once; exllamav2's `max_input_len`.

    Raises:
        Misconfigured: The context is longer than the model's own, or a number is below 1.
    """
    _possible(shape, context, batch, chunk)
    search = _Search(shape, vram_bytes, chunk)
    found = search.best(cache_mode, context, batch)
    wanted = found or search.wish(cache_mode, context, batch)
    parts = fixed_parts(shape, wanted.context, wanted.batch, chunk)
    parts["cache"] = wanted.cache_tokens * kv_bytes_per_token(shape, wanted.cache_mode)
    return Plan(
        vram_bytes, wanted.cache_mode, wanted.context, wanted.batch, wanted.cache_tokens,
        wanted.max_dq_size, MappingProxyType(parts), found or search.nearest(cache_mode, context),
    )  # fmt: skip


def max_cache_tokens(
    shape: Shape, vram_bytes: int, mode: CacheMode, *, context: int, batch: int, chunk: int = CHUNK
) -> int:
    """Tokens of cache for which the card has room beside the rest: whole pages, or 0."""
    room = vram_bytes - sum(fixed_parts(shape, context, batch, chunk).values())
    return max(room // kv_bytes_per_token(shape, mode) // PAGE * PAGE, 0)


def longest(shape: Shape) -> int:
    """The context that is planned for where nobody asks for one, if there is room."""
    return min(shape.max_context, CONTEXT)


def check(plan: Plan, measured_bytes: int) -> str | None:
    """What to log where a running model takes another amount of memory than planned, if it does.

    `measured_bytes` is what the process holds on the card after warm-up, all included.
    """
    off = measured_bytes / plan.expected_bytes - 1
    if abs(off) <= TOLERANCE:
        return None
    return (
        f"{measured_bytes >> 20} MiB of the card are in use, {off:+.0%} beside the planned "
        f"{plan.expected_bytes >> 20} MiB"
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
        need = (batch or 1) * paged(length)
        return Choice(mode or "q4", length, batch or 1, need, tuned_dq(self.shape))

    def _choice(self, mode: CacheMode, context: int, batch: int | None) -> Choice:
        jobs = self._jobs(mode, context, batch)
        tokens = min(self._room(mode, context, jobs), 2 * jobs * paged(context))
        return Choice(mode, context, jobs, tokens, tuned_dq(self.shape))

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
        return next((n for n in range(MOST, 0, -1) if self._holds(mode, context, n)), 0)

    def _holds(self, mode: CacheMode, context: int, batch: int) -> bool:
        return self._room(mode, context, batch) >= batch * paged(context)

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
