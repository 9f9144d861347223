"""Reading local answers, and their agreement."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay.workers.training.data import local_answers


@pytest.mark.parametrize(
    ("preds", "agreed"),
    [([18.0, 0.5, 18.0, 0.25], [[1], [0]]), ([True, False, True, True], [[1], [0]])],
    ids=["numbers", "booleans"],
)
def test_answers_may_be_numbers_or_booleans(tmp_path, preds, agreed):
    rows = {"uid": ["a", "b"] * 2, "model": ["m", "m", "o", "o"], "pred": preds}
    pq.write_table(pa.table(rows), tmp_path / "preds.parquet")
    answers = local_answers.read(tmp_path / "preds.parquet", ["a", "b"], "m", ["o"])
    assert answers.agreements().tolist() == agreed


def test_of_several_answers_of_a_model_the_first_counts(tmp_path):
    rows = {"uid": ["a", "b", "a", "b"], "model": ["m"] * 4, "pred": ["1", None, "2", "2"]}
    other = {"uid": ["a", "b"], "model": ["o"] * 2, "pred": [" 1 ", "2"]}
    columns = {name: rows[name] + other[name] for name in rows}
    pq.write_table(pa.table(columns), tmp_path / "preds.parquet")
    answers = local_answers.read(tmp_path / "preds.parquet", ["a", "b"], "m", ["o"])
    assert (answers.first, answers.others) == (["1", None], [["1", "2"]])
