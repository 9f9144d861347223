"""One shard while it is worked."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shard import Shard
from forebay.routing.bulk.shards import RisingRow, kept_results
from forebay.routing.errors import EngineDied, Lost
from forebay.routing.jobs import Receipt
from forebay.routing.ledger.claim import Claim
from forebay.workers.bulk.row_outcome import RowOutcome, failed
from forebay.workers.bulk.row_steps import WantsSecond
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import ShardAnswered

SUSPECTED = "the worker may have died while it worked this row"
CONFIRMED = "the worker died while it worked this row"


class ShardRun:
    """One shard while it is worked: its rows that are left, and what became of the others.

    Attributes:
        todo: the places of the rows that were not begun.
        seconds: rows whose first answer is there, and whose second opinion was not begun.
        under_way: the ids of the prompts that are in the engine.
    """

    def __init__(self, claim: Claim, shard: Shard, lost: threading.Event) -> None:
        self.shard = shard
        self.claim = claim
        self._of_rows = replace(claim, record=claim.record._replace(verdict=None))  # no router's
        self._lost = lost
        kept = kept_results(claim, len(shard.rows))
        self._outcomes: list[RowOutcome | None] = [self._judged(each) for each in kept]
        self.todo = deque(i for i, outcome in enumerate(self._outcomes) if outcome is None)
        self.seconds: deque[tuple[int, WantsSecond]] = deque()
        self.under_way: set[str] = set()
        self.kept_at = self.looked_at = time.monotonic()

    def check(self) -> None:
        """Raise `Lost` if the claim was lost."""
        if self._lost.is_set():
            raise Lost

    def row(self, index: int) -> Attempt:
        """Return an attempt at a row.

        Raises:
            InvalidJob: A field of the row is wrong.
        """
        return Attempt(self._of_rows, self.shard.job(index, self.shard.egress), index)

    def prompt_id(self, index: int) -> str:
        """Return the id of a row's first prompt, as its attempt does."""
        return f"{self.claim.id}/{self.claim.token}/{index}"

    def add(self, index: int, outcome: RowOutcome | WantsSecond) -> None:
        """Record what became of a row, or that it wants a second opinion."""
        if isinstance(outcome, WantsSecond):
            self.seconds.append((index, outcome))
        else:
            self._outcomes[index] = outcome

    def results(self) -> list[RowResult | None]:
        """Return the rows that are over. A row that goes up is decided on again if need be."""
        return [each if isinstance(each, RowResult) else None for each in self._outcomes]

    def blaming(self, index: int) -> list[RowResult | None]:
        """Return the rows that are over, and a row that is to blame if this process dies now."""
        blamed = self.results()
        blamed[index] = failed(EngineDied(SUSPECTED))
        return blamed

    def _judged(self, kept: RowResult | None) -> RowResult | None:
        """Return a kept result; a blamed row is answered again if its worker only gave it back."""
        if kept is None or kept.error_note != SUSPECTED:
            return kept
        died = self.claim.record.error == EngineDied.code
        return kept._replace(error_note=CONFIRMED) if died else None

    def rising(self) -> list[tuple[int, RisingRow]]:
        """Return the rows that go up, with their places in the shard."""
        outcomes = enumerate(self._outcomes)
        return [(index, each) for index, each in outcomes if isinstance(each, RisingRow)]

    @property
    def luck(self) -> float:
        """A number from 0 to 1 that is always the same for this shard."""
        return int(self.shard.id[-12:], 16) / 16**12

    def outcome(self) -> ShardAnswered:
        """Return the outcome of a shard whose rows are all over."""
        rising = [row for _, row in self.rising()]
        results = tuple(_result(each) for each in self._outcomes)
        return ShardAnswered(self._receipt(results), results, tuple(rising))

    def _receipt(self, results: Sequence[RowResult]) -> Receipt:
        record = self.claim.record
        answered = next((each for each in results if each.model), None)
        return Receipt(
            **record.heading(),
            status="done",
            lane="local",
            reasons=record.reasons,
            degraded=any(each.degraded for each in results),
            model=answered.model if answered else None,
            revision=answered.revision if answered else None,
            tokens_in=sum(each.tokens_in for each in results),
            tokens_out=sum(each.tokens_out for each in results),
        )


class BegunRow:
    """A row that is in the engine."""

    def __init__(self, index: int, run: ShardRun) -> None:
        self.index, self._run = index, run

    @cached_property
    def attempt(self) -> Attempt:
        """The attempt at the row. Raises `InvalidJob` if a field of the row is wrong."""
        return self._run.row(self.index)


def _result(outcome: RowOutcome | None) -> RowResult:
    if isinstance(outcome, RisingRow):
        return RowResult(status="up", reasons=outcome.reasons, job=outcome.job.id)
    assert outcome is not None, "a shard ends when all its rows are over"
    return outcome
