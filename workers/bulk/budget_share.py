"""The share of a bulk's budget that one shard may use: it is spread over the whole length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from forebay.routing.bulk.bulks import BulkRecord, Bulks
from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shards import RisingRow
from forebay.routing.errors import BudgetExceeded, UnknownJob
from forebay.routing.jobs import Answer
from forebay.routing.limits.pacing import CALL_NUSD
from forebay.routing.reasons import Reason
from forebay.routing.store.backoff import patiently
from forebay.workers.bulk.row_outcome import failed, of_answer
from forebay.workers.bulk.shard_run import ShardRun

PATIENCE_S = 600.0  # for Redis to tell the budget, once all rows of a shard are answered


def keep_to_budget(run: ShardRun, bulks: Bulks) -> None:
    """Let the hardest rows go up, as many as the shard's part of the bulk's budget covers."""
    rising = run.rising()
    if not rising:
        return
    with suppress(UnknownJob):
        bulk = patiently(partial(bulks.get, run.shard.bulk), patience_s=PATIENCE_S)
        count = affordable_rows(bulk, len(run.shard.rows))
        if count >= len(rising):
            return
        going = hardest(rising, int(count) + (run.luck < count % 1))
        for index, row in rising:
            if index not in going:
                run.add(index, kept_for_budget(row))


def affordable_rows(bulk: BulkRecord, shard_rows: int) -> float:
    """Return how many rows of a shard may go up; a fraction is a probability.

    What is left of the budget is shared out among the rows that are not over, at the mean cost of
    the bulk's calls so far. The reservation before each call holds the budget itself.
    """
    if bulk.max_nusd is None:
        return math.inf
    calls = bulk.counters.get("rows_bedrock", 0)
    mean = (bulk.settled_nusd + CALL_NUSD) / (calls + 1)  # an assumed cost counts as one call
    waiting = max(0, bulk.counters.get("rows_up", 0)) * mean
    left = max(0.0, bulk.max_nusd - bulk.settled_nusd - waiting)
    rows_left = max(shard_rows, _total(bulk) - bulk.over)
    return left / mean * shard_rows / rows_left


def hardest(rising: Sequence[tuple[int, RisingRow]], count: int) -> set[int]:
    """Return the indexes of the rows that have most to gain, at most `count`.

    A row without a usable answer has most; then come the answers with the largest doubt. An answer
    that failed its checks has no doubt, and counts as certainly wrong.
    """

    def hardness(item: tuple[int, RisingRow]) -> tuple[float, int]:
        draft = item[1].draft
        if draft is None:
            return 2.0, -item[0]
        return (draft.doubt.probability if draft.doubt else 1.0), -item[0]

    return {index for index, _ in sorted(rising, key=hardness, reverse=True)[:count]}


def kept_for_budget(row: RisingRow) -> RowResult:
    """Return the result of a row that stays because the budget does not cover it."""
    reasons = (*row.reasons, Reason.BUDGET_SPENT.value)
    if isinstance(row.draft, Answer):
        return of_answer(row.draft, reasons)
    error = BudgetExceeded("the budget of the bulk does not cover a call for this row")
    return failed(error, reasons=reasons)


def _total(bulk: BulkRecord) -> int:
    """Return the number of the bulk's rows, estimated from the part of the source that was read."""
    if bulk.total is not None:
        return bulk.total
    return int(bulk.sent / bulk.share) if bulk.share > 0 else bulk.sent
