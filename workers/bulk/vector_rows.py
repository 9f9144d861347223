"""Rows that are answered by vectors: embeddings, and labels by similarity. They need no slot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

from forebay.routing.errors import InvalidJob
from forebay.workers.bulk.row_outcome import RowOutcome, failed
from forebay.workers.bulk.row_steps import RowSteps, WantsSecond, isolated
from forebay.workers.bulk.shard_run import ShardRun
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.cascade.stages import RawAnswer
from forebay.workers.runtime.attempt import Attempt

ROWS_AT_ONCE = 64  # rows that are embedded in one call


class VectorRows:
    """Answers the rows of shards by vectors, many in one call."""

    def __init__(self, answerer: Answerer, steps: RowSteps) -> None:
        self._answerer, self._steps = answerer, steps

    def answer_some(self, run: ShardRun) -> None:
        """Answer the next rows of a shard in one call."""
        attempts = []
        for index in [run.todo.popleft() for _ in range(min(ROWS_AT_ONCE, len(run.todo)))]:
            try:
                attempts.append((index, run.row(index)))
            except InvalidJob as error:
                run.add(index, failed(error))
        for index, outcome in self._outcomes(attempts):
            run.add(index, outcome)

    def _outcomes(
        self, rows: Sequence[tuple[int, Attempt]]
    ) -> Iterator[tuple[int, RowOutcome | WantsSecond]]:
        """Answer rows in one call, or each in its own if a row breaks the call."""
        raws: Sequence[RawAnswer] = ()
        with suppress(InvalidJob, ValueError, TypeError, LookupError, ArithmeticError):
            raws = self._answerer.at_once([row.job for _, row in rows]) if rows else ()
        for at, (index, row) in enumerate(rows):
            if raws:
                yield index, self._steps.conclude(row, raws[at])
            else:
                yield index, isolated(row, partial(self._alone, row))

    def _alone(self, row: Attempt) -> RowOutcome | WantsSecond:
        (raw,) = self._answerer.at_once([row.job])
        return self._steps.conclude(row, raw)
