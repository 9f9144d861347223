"""Forecast how long a bulk will take, when it begins: by the rate of earlier bulks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from forebay.producers.bulk.rows import START
from forebay.producers.bulk.sources.source import Source
from forebay.routing.bulk.row_rates import RowRate

ROWS_LOOKED_AT = 200  # to learn how much of the source a row takes


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """How long a bulk will take if the fleet answers its rows as fast as such rows lately.

    Attributes:
        rows: the rows of the source, as estimated from its first rows.
        rows_per_s: the rate of the fleet, while it had such rows.
        model: the model that answered them.
        pool: the pool that answered them.
        seconds: until all rows are answered, if nothing else is to be done.
        done_at: when that will be.
        in_time: whether that is before the deadline; `None` if the bulk has none.
    """

    rows: int
    rows_per_s: float
    model: str
    pool: str
    seconds: float
    done_at: datetime
    in_time: bool | None


def forecast(source: Source, rate: RowRate, deadline: float | None) -> Forecast:
    """Return the forecast of a bulk that begins now.

    Args:
        source: the rows; it can be read again.
        rate: how fast such rows were answered lately.
        deadline: Unix time by which the rows must be answered, or `None`.

    Raises:
        InvalidJob: The source cannot be read.
    """
    rows = estimated_rows(source)
    seconds = rows / rate.rows_per_s
    done_at = datetime.now(UTC) + timedelta(seconds=seconds)
    return Forecast(
        rows=rows,
        rows_per_s=rate.rows_per_s,
        model=rate.model,
        pool=rate.queue.partition(".")[2] or rate.queue,
        seconds=seconds,
        done_at=done_at,
        in_time=None if deadline is None else done_at.timestamp() <= deadline,
    )


def estimated_rows(source: Source) -> int:
    """Return how many rows a source has: exactly if they are few, else by the size of the first."""
    first = list(islice(source.rows(START), ROWS_LOOKED_AT + 1))
    if len(first) <= ROWS_LOOKED_AT:
        return len(first)
    end = first[ROWS_LOOKED_AT - 1].end
    return max(len(first), round(source.size() * ROWS_LOOKED_AT / max(1, end.offset)))
