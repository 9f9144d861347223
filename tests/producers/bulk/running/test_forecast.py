"""How long a bulk will take, by the rate at which such rows were answered lately."""

import time

import pytest

from forebay.producers.bulk.running.forecast import ROWS_LOOKED_AT, estimated_rows, forecast
from forebay.producers.bulk.sources.open_source import open_source
from forebay.routing.bulk.row_rates import RowRate

RATE = RowRate("local.big", "llama", 10.0, 0.0)


def source(path, rows):
    path.write_text("".join(f'{{"text": "row {number:05}"}}\n' for number in range(rows)))
    return open_source(path)


@pytest.mark.parametrize("rows", [1, ROWS_LOOKED_AT, ROWS_LOOKED_AT + 1, 5_000])
def test_rows_of_one_size_are_counted_exactly(tmp_path, rows):
    assert estimated_rows(source(tmp_path / "rows.jsonl", rows)) == rows


def test_a_forecast_says_whether_a_bulk_is_done_by_its_deadline(tmp_path):
    rows = source(tmp_path / "rows.jsonl", 600)
    late, early = forecast(rows, RATE, time.time() + 50), forecast(rows, RATE, time.time() + 70)
    assert (late.rows, late.seconds, late.model, late.pool) == (600, 60, "llama", "big")
    assert (late.in_time, early.in_time) == (False, True)
    assert forecast(rows, RATE, None).in_time is None
