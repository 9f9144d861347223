"""Collects the results of blocks: of their shards, and of the rows that went up to Bedrock."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.producers.bulk.options import Order
from forebay.producers.bulk.running import results
from forebay.producers.bulk.running.arrivals import Arrivals
from forebay.producers.bulk.running.blocks import Block, Part
from forebay.routing.bulk.shards import ShardResult, Shards
from forebay.routing.errors import ForebayError, UnknownJob
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.ledger.ledger import Ledger

MAX_FETCHED = 32  # blocks whose results are in memory; those of others stay in Redis
SHARDS_PER_ROUND_TRIP = 16


class Collector:
    """The blocks that were fed and are not in the output yet.

    1. `add` takes blocks that were fed.
    2. `collect` notes which shards and jobs have ended, and fetches results.
    3. `take_complete` gives out the blocks that are to be written now, in the order that is wanted.
    4. `take_lost` gives out the blocks of which Redis has lost a shard: they are to be fed again.
    """

    def __init__(self, ledger: Ledger, arrivals: Arrivals, order: Order) -> None:
        self._ledger, self._shards, self._arrivals = ledger, Shards(ledger), arrivals
        self._in_order = order == "input"
        self._blocks: dict[int, Block] = {}
        self._parts: dict[str, tuple[Block, Part]] = {}
        self._jobs: dict[str, Block] = {}
        self._lost: set[int] = set()

    def __len__(self) -> int:
        """Return how many blocks are not in the output yet."""
        return len(self._blocks)

    @property
    def shards_under_way(self) -> int:
        """The shards that have not ended."""
        return len(self._parts)

    def rows_under_way(self) -> int:
        """Return how many rows are over in shards that have not ended.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        over = self._shards.rows_over(list(self._parts))
        parts = (part for _, part in self._parts.values())
        return sum(min(len(part.rows), rows) for part, rows in zip(parts, over, strict=True))

    def awaited(self) -> list[str]:
        """Return the shards and jobs that have not ended."""
        return [*self._parts, *self._jobs]

    def add(self, blocks: Iterable[Block]) -> None:
        """Take blocks that were fed."""
        for block in blocks:
            self._blocks[block.fed.number] = block
            for part in block.parts:
                self._parts[part.id] = block, part

    def collect(self, ended: Iterable[str]) -> None:
        """Note what has ended, and fetch the results that may be written soon."""
        jobs = []
        for job_id in ended:
            if job_id in self._parts:
                _, part = self._parts.pop(job_id)
                part.ended = True
            elif job_id in self._jobs:
                jobs.append(job_id)
        self._fetch_jobs(jobs)
        self._fetch_shards()

    def take_complete(self) -> list[Block]:
        """Return the blocks that can be written now, and forget them."""
        taken = []
        for number in sorted(self._blocks):
            if self._blocks[number].complete:
                taken.append(self._blocks.pop(number))
            elif self._in_order:
                break
        return taken

    def take_lost(self) -> list[Block]:
        """Return the blocks of which Redis has lost a shard, and forget them."""
        lost = [self._blocks.pop(number) for number in sorted(self._lost)]
        self._lost.clear()
        for block in lost:
            for part in block.parts:
                self._parts.pop(part.id, None)
            for job_id in block.rising:
                self._jobs.pop(job_id, None)
        return lost

    def _fetch_shards(self) -> None:
        """Fetch the results of shards that have ended, for the blocks that come next."""
        wanted: list[tuple[Block, Part]] = []
        in_memory = 0
        for number in sorted(self._blocks):
            block = self._blocks[number]
            in_memory += any(part.fetched for part in block.parts)
            if in_memory + len(wanted) >= MAX_FETCHED:
                break
            if block.ended:
                wanted += [(block, part) for part in block.parts if not part.fetched]
        for start in range(0, len(wanted), SHARDS_PER_ROUND_TRIP):
            batch = wanted[start : start + SHARDS_PER_ROUND_TRIP]
            fetched = self._shards.results([part.id for _, part in batch])
            for (block, part), result in zip(batch, fetched, strict=True):
                if result is not None:
                    self._take_in(block, part, result)

    def _take_in(self, block: Block, part: Part, result: ShardResult | ForebayError) -> None:
        if isinstance(result, UnknownJob):
            self._lost.add(block.fed.number)
            return
        rows, status, error = [], "failed", ""
        if isinstance(result, ForebayError):
            error = result.code
        else:
            rows, status = result.rows, result.receipt.status
            error = result.receipt.error or result.receipt.reason or "engine_died"
        status = status if status in {"cancelled", "expired"} else "failed"
        if isinstance(result, ShardResult) and self._take_plain(block, part, result):
            return
        rising = {}
        for index, place in enumerate(part.rows):
            row = rows[index] if index < len(rows) else None
            number, key = block.rows[place]
            if row is None:
                block.results[place] = results.without_result(number, key, status, error)
            elif row.status == "up" and row.job:
                rising[row.job] = place
            else:
                block.results[place] = results.of_row(number, key, row)
        part.fetched = True
        self._await_jobs(block, rising)

    def _take_plain(self, block: Block, part: Part, result: ShardResult) -> bool:
        """Take in a shard's results as lines, if they are plain and all of the block.

        Returns whether they were taken in.
        """
        plain = result.plain
        if plain is None or len(block.parts) > 1 or plain.row_count != len(block.rows):
            return False
        block.lines = results.lines_of(plain, block.rows)
        block.counted = results.totals_of(plain)
        part.fetched = True
        return True

    def _await_jobs(self, block: Block, rising: dict[str, int]) -> None:
        if not rising:
            return
        block.rising |= rising
        self._jobs |= dict.fromkeys(rising, block)
        self._fetch_jobs(list(self._arrivals.watch(list(rising))))

    def _ends(self, job_ids: list[str]) -> dict[str, Answer | Receipt | ForebayError | None]:
        """Return how jobs ended, `None` if Redis does not have them, without those that go on.

        A job whose end was told goes on if Redis was restarted and lost that end.
        """
        ends: dict[str, Answer | Receipt | ForebayError | None]
        ends = dict(zip(job_ids, self._ledger.results(job_ids), strict=True))
        unknown = [job_id for job_id, ended in ends.items() if ended is None]
        if not unknown:
            return ends
        over = self._arrivals.watch(unknown)
        later = [job_id for job_id in unknown if job_id in over]  # it ended just now, or is gone
        ends |= dict(zip(later, self._ledger.results(later), strict=True))
        return {job_id: end for job_id, end in ends.items() if end or job_id in over}

    def _fetch_jobs(self, job_ids: list[str]) -> None:
        """Take in the ends of rows that went up."""
        if not job_ids:
            return
        for job_id, ended in self._ends(job_ids).items():
            block = self._jobs.pop(job_id)
            place = block.rising.pop(job_id)
            number, key = block.rows[place]
            if isinstance(ended, Answer):
                block.answered.append(job_id)
            if isinstance(ended, Answer | Receipt):
                block.results[place] = results.of_job(number, key, ended)
            else:  # forgotten, or it cannot be read
                code = ended.code if ended is not None else "unknown_job"
                block.results[place] = results.without_result(number, key, "failed", code)
