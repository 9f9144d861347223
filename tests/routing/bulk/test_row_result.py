"""The stored form of a shard's results."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.bulk.row_result import (
    RowResult,
    counts,
    pack_rows,
    plain_rows,
    unpack_rows,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
RESULTS = st.builds(
    RowResult,
    status=st.sampled_from(["done", "failed", "expired", "up"]),
    content=st.none() | st.dictionaries(st.text(), JSON),
    model=NAMES,
    degraded=st.booleans(),
    reasons=st.lists(NAMES, max_size=3).map(tuple),
    tokens_in=st.integers(0, 10**6),
    checks=st.lists(NAMES, max_size=3).map(tuple),
    failed=st.lists(st.tuples(NAMES, st.text()), max_size=2).map(tuple),
    doubt=st.none() | st.floats(0, 1),
    error=st.none() | NAMES,
    error_note=st.none() | st.text(),
)


@given(st.lists(st.none() | RESULTS, max_size=20))
def test_results_come_back_as_they_were_packed(results):
    assert unpack_rows(pack_rows(results)) == results


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"shared":[],"rows":[[0]]}', b"\xff", b"1"])
def test_other_bytes_are_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the parser says
        unpack_rows(data)


@pytest.mark.parametrize(
    "data",
    [
        b"", b'{"rows":[\n]}', b'{"shared":[],"sums":[],"rows":[\n[0,{},1,1]\n]}',
        b'{"shared":[["done","","",false,[],[]]],"rows":[\n[0,{},1,1]\n]}',
        b'{"shared":[["done","","",false,[],[]]],"sums":[[1,1,1]],"rows":[\n[1,{},1,1]\n]}',
        b'{"shared":[["done","","",false,[],[]]],"sums":[],"rows":[\n[0,{},1,1]\n]}',
    ],
)  # fmt: skip
def test_rows_are_not_copied_from_other_bytes(data):
    assert plain_rows(data) is None


def test_a_row_takes_few_bytes():
    row = RowResult(
        status="done", content={"label": "billing"}, model="a-model", revision="0123456789ab",
        checks=("label",), tokens_in=30, tokens_out=1,
    )  # fmt: skip
    assert len(pack_rows([row] * 1_000)) / 1_000 < 40


def test_the_counters_tell_what_became_of_each_row():
    rows = [
        RowResult(status="done", tokens_in=3, tokens_out=1),
        RowResult(status="done", degraded=True, failed=(("length", "long"),)),
        RowResult(status="failed", error="too_long"),
        RowResult(status="up", job="acme.1"),
    ]
    assert counts(rows) == {
        "rows_done": 2, "rows_local": 2, "rows_degraded": 1, "rows_failed": 1, "rows_up": 1,
        "tokens_in": 3, "tokens_out": 1, "check:length": 1, "error:too_long": 1,
    }  # fmt: skip
