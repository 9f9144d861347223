"""The values that pass between a worker and an engine."""

from __future__ import annotations

import pytest

from forebay.workers.engines.quantiles import low_quantile


@pytest.mark.parametrize(
    ("logprobs", "quantile"),
    [
        ([], None),
        ([-2.0], -2.0),
        ([-1.0, -9.0, *[-0.5] * 8], -9.0),
        ([-1.0, -9.0, *[-0.5] * 9], -1.0),
        ([-float(number) for number in range(1, 41)], -37.0),
    ],
)
def test_the_low_quantile_is_the_nearest_rank_from_below(logprobs, quantile):
    assert low_quantile(logprobs) == quantile
