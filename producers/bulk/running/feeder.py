"""Feeds the rows of a bulk to the fleet: block after block, as many as the ledger takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from forebay.producers.bulk.running.blocks import Block, BlockReader, Part
from forebay.producers.bulk.running.journal import Journal
from forebay.producers.bulk.streams.inputs import NotYet
from forebay.routing.bulk.shard import MAX_ROWS
from forebay.routing.bulk.shards import Shards
from forebay.routing.errors import ForebayError, Unavailable

FIRST_ROWS = 50  # of the first blocks, so that their results come soon
SECONDS_OF_A_SHARD = 4.0  # that many seconds of the fleet's present rate are in one block
MAX_UNDER_WAY = 400  # shards on the ledger that have not ended
MAX_UNWRITTEN = 4_000  # blocks that were fed and are not in the output, such as behind a slow one
SHARDS_PER_ROUND_TRIP = 16
MAX_TAKE_S = 1.0  # reading blocks, before those that were read are put on the ledger
PAUSE_S = 1.0  # after the ledger refused a shard: Redis is nearly full, or too many jobs wait


class Feeder:
    """Puts blocks on the ledger.

    1. Takes the blocks that an earlier process fed and did not finish, then new ones.
    2. Records in the journal which rows are in a block, before they are put on the ledger.
    3. Keeps at most `MAX_UNDER_WAY` shards on the ledger, and waits if it takes no more.

    Attributes:
        exhausted: all blocks were read.
        rows_sent: rows of the blocks that were put on the ledger.
    """

    def __init__(self, reader: BlockReader, journal: Journal, shards: Shards, stream: str) -> None:
        self._reader, self._journal, self._shards = reader, journal, shards
        self._stream = stream
        self._again = deque(sorted(journal.open_blocks.values(), key=lambda fed: fed.number))
        self._unsent: list[Part] = []
        self._not_before = 0.0
        self.exhausted = False
        self.rows_sent = 0

    @property
    def idle(self) -> bool:
        """Whether all rows were read and put on the ledger."""
        return self.exhausted and not self._again and not self._unsent

    def feed_again(self, blocks: Iterable[Block]) -> None:
        """Have blocks read and put on the ledger again, because Redis has lost them."""
        self._again.extend(block.fed for block in blocks)

    def feed(self, under_way: int, unwritten: int, rows_per_s: float | None) -> list[Block]:
        """Put blocks on the ledger, and return them.

        Args:
            under_way: shards on the ledger that have not ended.
            unwritten: blocks that are not in the output.
            rows_per_s: how many rows a second the fleet answers now, if that is known.

        Raises:
            ForebayError: A shard can never be put on the ledger, or the source cannot be read.
        """
        self._send()
        room = min(MAX_UNDER_WAY - under_way, MAX_UNWRITTEN - unwritten)
        if self._unsent or room <= 0 or not self._reader.remember_keys():
            return []
        blocks = self._take(min(room, SHARDS_PER_ROUND_TRIP), _block_rows(rows_per_s))
        self._unsent = [part for block in blocks for part in block.parts]
        self._send()
        return blocks

    def _take(self, count: int, max_rows: int) -> list[Block]:
        """Read up to so many blocks, and record the new ones."""
        journal, new = self._journal, []
        blocks: list[Block] = []
        number, start = journal.next_block, journal.next_start
        until = time.monotonic() + MAX_TAKE_S
        while len(blocks) < count and (not blocks or time.monotonic() < until):
            if self._again:
                blocks.append(self._reader.read_again(self._again.popleft()))
                continue
            try:
                block = self._reader.next(number, start, max_rows)
            except NotYet:
                break
            if block is None:
                self.exhausted = True
                break
            number, start = number + 1, block.fed.end
            new.append(block.fed)
            blocks.append(block)
        self._reader.sync()
        journal.fed(new)
        return blocks

    def _send(self) -> None:
        """Put shards on the ledger that it has not taken yet."""
        if not self._unsent or time.monotonic() < self._not_before:
            return
        try:
            replies = self._shards.create(
                [part.shard for part in self._unsent if part.shard], self._stream
            )
        except Unavailable:
            self._not_before = time.monotonic() + PAUSE_S
            return
        refused = []
        for part, reply in zip(self._unsent, replies, strict=True):
            if isinstance(reply, Unavailable):
                refused.append(part)
                self._not_before = time.monotonic() + (reply.retry_after or PAUSE_S) / 10
            elif isinstance(reply, ForebayError):
                raise reply
            else:
                self.rows_sent += len(part.rows)
                part.shard = None  # Redis has it
        self._unsent = refused


def _block_rows(rows_per_s: float | None) -> int:
    if rows_per_s is None:
        return FIRST_ROWS
    return max(FIRST_ROWS, min(MAX_ROWS, int(rows_per_s * SECONDS_OF_A_SHARD)))
