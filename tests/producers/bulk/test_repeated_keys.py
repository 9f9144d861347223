"""Keys that repeat are found, in bounded memory."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from forebay.producers.bulk.repeated_keys import RepeatedKeys


@given(st.lists(st.text(max_size=2), max_size=200))
def test_the_first_row_of_each_repeated_key_is_named(keys):
    found = RepeatedKeys()
    first = {}
    for row, key in enumerate(keys, start=1):
        assert found.first_row(key, row) == first.get(key)
        first.setdefault(key, row)


def test_a_hundred_thousand_keys_take_at_most_36_bytes_each():
    keys = RepeatedKeys()
    for row in range(100_000):
        assert keys.first_row(f"key {row}", row) is None
    size = sys.getsizeof(keys._hashes) + sys.getsizeof(keys._rows)
    assert size / 100_000 <= 36
    assert all(keys.first_row(f"key {row}", 0) == row for row in range(0, 100_000, 997))


def test_past_the_limit_keys_are_compared_with_the_first_ones_and_that_is_said_once(caplog):
    keys = RepeatedKeys(max_keys=2)
    assert [keys.first_row(key, row) for row, key in enumerate("abcabcd", start=1)] == [
        None, None, None, 1, 2, None, None,
    ]  # fmt: skip
    said = ["from row 3 on, keys are compared with the first 2 keys only"]
    assert [record.getMessage() for record in caplog.records] == said
