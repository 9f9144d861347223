"""Blocks: consecutive rows of the source, read together, and put on the ledger as a few shards."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from forebay.producers.bulk.outputs.output import JsonLines, ResultRow, Rows
from forebay.producers.bulk.repeated_keys import RepeatedKeys
from forebay.producers.bulk.rows import START, BadRow, Position, TemplatedRow
from forebay.producers.bulk.running import results
from forebay.producers.bulk.running.journal import FedBlock
from forebay.producers.bulk.running.manifest import Manifest
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.streams.inputs import NotYet
from forebay.producers.bulk.templates.template import Template
from forebay.producers.bulk.validated import validated_rows
from forebay.routing.bulk.shard import Shard

#: A block ends when its rows take so much of the source; so a shard stays small in Redis.
MAX_BLOCK_BYTES = 1 << 20
#: How long a pipe may keep this process waiting: meanwhile, nothing is collected or shown.
MAX_WAIT_S = 0.1
#: A block ends when its rows took so long to come, so that rows of a slow source are not held back.
MAX_READ_S = 1.0


@dataclass(slots=True)
class Part:
    """The rows of a block that travel in one shard.

    Attributes:
        id: the id of the shard.
        shard: the shard, until the ledger has it.
        rows: the rows' places in the block.
        ended: the shard has ended.
        fetched: its results are in the block.
    """

    id: str
    shard: Shard | None = field(repr=False)
    rows: list[int]
    ended: bool = False
    fetched: bool = False


@dataclass(slots=True)
class Block:
    """Rows that are read, put on the ledger, and written to the output together.

    Attributes:
        fed: its number and its positions in the source.
        rows: number and key of each valid row.
        bad: the rows that cannot be requests.
        parts: the shards of its rows.
        results: the row of the output for each valid row, once it is known.
        lines: those of all rows, if they came as lines; `counted` says what became of them.
        rising: the jobs of rows that went up, and the rows' places in the block.
        answered: those jobs that have an answer. The others are kept as dead letters.
    """

    fed: FedBlock
    rows: list[tuple[int, str | None]] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    results: list[ResultRow | None] = field(default_factory=list)
    lines: JsonLines | None = None
    counted: Counter[str] = field(default_factory=Counter)
    rising: dict[str, int] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the results of all rows are here."""
        return not self.rising and all(part.fetched for part in self.parts)

    def written(self) -> list[Rows]:
        """Return what is to be written to the output."""
        if self.lines is not None:
            return [self.lines]
        return [row for row in self.results if row is not None]

    def totals(self) -> Counter[str]:
        """Return what became of its rows, as counters."""
        return self.counted + results.totals(self.results, len(self.bad))

    @property
    def ended(self) -> bool:
        """Whether all its shards have ended."""
        return all(part.ended for part in self.parts)


class BlockReader:
    """Reads blocks of a source, from any position on."""

    def __init__(self, manifest: Manifest, source: Source, template: Template) -> None:
        self._manifest, self._source, self._template = manifest, source, template
        self._keys = RepeatedKeys()
        self._rows: Iterator[TemplatedRow | BadRow] | None = None
        self._at: Position | None = None
        self._keyed, self._keyed_until = START, START
        source.wait_at_most(MAX_WAIT_S)

    def read_again(self, fed: FedBlock) -> Block:
        """Return a block that was fed before."""
        block = Block(fed)
        rows: list[TemplatedRow] = []
        for row in self._templated(fed.start):
            if row.end.row > fed.end.row:
                break
            _sort_in(row, rows, block)
            if row.end.row >= fed.end.row:
                break
        self._split(block, rows)
        self._at = None
        return block

    def next(self, number: int, start: Position, max_rows: int) -> Block | None:
        """Return the next block, of at most `max_rows` rows; `None` at the end of the source.

        Raises:
            NotYet: The source still comes, and has no whole row yet.
        """
        if self._rows is None or self._at != start:
            self._rows = self._templated(start)
        rows: list[TemplatedRow] = []
        block = Block(FedBlock(number, start, start))
        end, until = start, time.monotonic() + MAX_READ_S
        try:
            for row in self._rows:
                end = row.end
                _sort_in(row, rows, block)
                count = len(rows) + len(block.bad)
                size = end.offset - start.offset
                if count >= max_rows or size >= MAX_BLOCK_BYTES or time.monotonic() > until:
                    break
        except NotYet:
            self._rows = None  # reading goes on where the last row ends
            if end == start:
                raise
        self._at = end
        if end == start:
            return None
        block.fed = FedBlock(number, start, end)
        self._split(block, rows)
        return block

    def keys_until(self, position: Position) -> None:
        """Have the keys of the rows up to a position read before other rows are."""
        if self._template.key_column is not None:
            self._keyed_until = position

    def remember_keys(self) -> bool:
        """Read keys for a moment; return whether all that other rows are compared with are read."""
        if self._has_keys:
            return True
        until = time.monotonic() + MAX_READ_S
        with suppress(NotYet):
            for row in self._templated(self._keyed):
                self._keyed = row.end
                if self._has_keys or time.monotonic() > until:
                    break
        return self._has_keys

    @property
    def rereading(self) -> float | None:
        """How much of what an earlier process read was read again; `None` if nothing has to be."""
        if not self._has_keys:
            return self._keyed.row / self._keyed_until.row
        return self._source.rereading

    @property
    def _has_keys(self) -> bool:
        return self._keyed.row >= self._keyed_until.row

    def sync(self) -> None:
        """Make durable what was read of a source that comes only once."""
        self._source.sync()

    def _templated(self, start: Position) -> Iterator[TemplatedRow | BadRow]:
        return validated_rows(self._source, self._template, start=start, keys=self._keys)

    def _split(self, block: Block, rows: list[TemplatedRow]) -> None:
        """Make a shard of the rows of each kind, egress, model and set of common fields."""
        groups: dict[tuple[str, str, str | None, int], list[int]] = {}
        for place, row in enumerate(rows):
            alike = row.kind, row.egress, row.model, id(row.common)
            groups.setdefault(alike, []).append(place)
        block.rows = [(row.number, row.key) for row in rows]
        block.results = [None] * len(rows)
        for number, places in enumerate(groups.values()):
            shard = self._shard(block, number, [rows[place] for place in places])
            block.parts.append(Part(shard.id, shard, places))

    def _shard(self, block: Block, part: int, rows: list[TemplatedRow]) -> Shard:
        manifest, first = self._manifest, rows[0]
        deadline = manifest.deadline
        return Shard.model_construct(  # each value was validated when it was read
            id=shard_id(manifest, block.fed, part),
            bulk=manifest.id,
            tenant=manifest.tenant,
            kind=first.kind,
            egress=first.egress,
            deadline=None if deadline is None else datetime.fromtimestamp(deadline, UTC),
            max_cost_usd=manifest.max_cost_usd,
            model=first.model,
            common=first.common,
            rows=tuple(row.varying for row in rows),
        )


def shard_id(manifest: Manifest, fed: FedBlock, part: int) -> str:
    """Return the id of a shard: the same whenever the same rows are fed again."""
    name = f"{manifest.id} {fed.number} {fed.start.row} {fed.end.row} {part}"
    return f"{manifest.tenant}.{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}"


def _sort_in(row: TemplatedRow | BadRow, rows: list[TemplatedRow], block: Block) -> None:
    if isinstance(row, BadRow):
        block.bad.append(row)
    else:
        rows.append(row)
