"""The share of a bulk's budget that one shard may use: it is spread over the whole length."""

from __future__ import annotations

import math
from collections.abc import Sequence

from forebay.routing.bulk.bulks import BulkRecord
from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shards import RisingRow
from forebay.routing.errors import BudgetExceeded
from forebay.routing.jobs import Answer
from forebay.routing.limits.pacing import CALL_NUSD
from forebay.routing.reasons import Reason
from forebay.workers.bulk.row_outcome import failed, of_answer


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
