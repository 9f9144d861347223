"""The output's rows: those that are copied as JSON text are those that are made of results."""

import json

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import to_json

from forebay.producers.bulk.running.results import lines_of, of_row, totals, totals_of
from forebay.routing.bulk.row_result import RowResult, pack_rows, plain_rows, unpack_rows

VALUES = st.none() | st.integers(-(2**53), 2**53) | st.floats() | st.text()
CONTENTS = st.dictionaries(st.text(), VALUES | st.lists(VALUES), max_size=4)
NAMES = st.lists(st.text(max_size=5), max_size=2).map(tuple)
PLAIN = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["done", "failed"]), "content": CONTENTS,
        "model": st.text(max_size=5), "degraded": st.booleans(), "checks": NAMES,
        "reasons": NAMES | st.just(("budget_spent",)), "tokens_in": st.integers(0, 10**6),
        "tokens_out": st.integers(0, 10**6),
    }
).map(lambda fields: RowResult(**fields))  # fmt: skip
TRAP = RowResult("done", "100%d %b", content={"a": '},1,2],\n[0,{"b":1},3,4]', "%s": "\\\\\n"})
SAYS_MORE = (
    RowResult("done", content={}, doubt=0.5),
    RowResult("done", content={}, failed=(("a", "b"),)),
    RowResult("done", content={"n": float("nan")}),
    RowResult("failed", error="too_long"),
    None,
)


@given(st.lists(st.tuples(PLAIN, st.integers(1), st.none() | st.text()), min_size=1, max_size=9))
@example([(TRAP, 1, None), (TRAP, 2, 'a"%b'), (TRAP._replace(tokens_in=5), 3, "\u2028")])
def test_rows_that_are_copied_are_those_that_are_made_of_results(rows):
    packed = pack_rows([result for result, _, _ in rows])
    plain = plain_rows(packed)
    if plain is None:
        assert b"NaN" in packed or b"Infinity" in packed
        return
    made = [
        of_row(number, key, result)
        for (_, number, key), result in zip(rows, unpack_rows(packed), strict=True)
    ]
    lines = lines_of(plain, [(number, key) for _, number, key in rows])
    assert lines.data == b"".join(to_json(row) + b"\n" for row in made)
    assert lines.rows() == made
    assert plain.row_count == len(rows)
    assert totals_of(plain) == totals(made, 0)


@given(st.lists(PLAIN, max_size=4), st.sampled_from(SAYS_MORE), st.integers(0, 4))
def test_rows_are_not_copied_if_one_says_more_than_its_content(results, other, at):
    assert plain_rows(pack_rows([*results[:at], other, *results[at:]])) is None


def test_results_of_an_earlier_version_are_not_copied():
    shared = ["done", "m", "r", False, [], []]
    old = json.dumps({"shared": [shared], "rows": [[0, {}, 1, 1]]}).encode()
    assert plain_rows(old) is None
    row = RowResult("done", "m", "r", content={}, tokens_in=1, tokens_out=1)
    assert unpack_rows(old) == [row]
