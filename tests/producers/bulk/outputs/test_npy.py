"""Embeddings as a NumPy array: one vector a row, in the order of the input."""

import json

import numpy as np
import pytest

from forebay.producers.bulk.outputs.npy import packed_nan
from forebay.producers.bulk.outputs.open_output import open_output
from forebay.routing.errors import InvalidJob


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vectors.npy"


def embed(*vectors):
    return {"vectors": list(vectors)}


def test_each_vector_is_at_the_index_of_its_row(path, result):
    with open_output(path) as output:
        output.append([result(3, embed([3.0, 3.5])), result(2)])
        output.append([result(1, embed([1.0, -0.0])), result(5)])
        output.finish()
    matrix = np.load(path, allow_pickle=False)
    assert (matrix.shape, matrix.dtype) == ((5, 2), np.float32)
    assert matrix[[0, 2]].tolist() == [[1.0, 0.0], [3.0, 3.5]]
    assert np.isnan(matrix[[1, 3, 4]]).all()
    rows = [
        json.loads(line)
        for line in (path.parent / "vectors.npy.jsonl").read_text().split("\n")[:-1]
    ]
    assert [(row["row"], row["status"]) for row in rows] == [
        (3, "done"), (2, "failed"), (1, "done"), (5, "failed"),
    ]  # fmt: skip
    assert all("answer" not in row and "key" in row for row in rows)


def test_many_rows_in_any_order_are_what_numpy_would_have_made(path, result):
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(1_000, 17)).astype(np.float32)
    order = rng.permutation(1_000)
    with open_output(path) as output:
        for part in np.array_split(order, 7):
            output.append([result(int(n) + 1, embed(vectors[n].tolist())) for n in part])
        output.finish()
    assert (np.load(path) == vectors).all()
    assert np.load(path, mmap_mode="r")[999].tolist() == vectors[999].tolist()


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_no_answers_are_an_array_without_numbers(path, result, rows):
    with open_output(path) as output:
        output.append([result(number) for number in range(1, rows + 1)])
        output.finish()
    assert np.load(path).shape == (rows, 0)


def test_a_row_with_several_vectors_is_refused(path, result):
    with open_output(path) as output:
        with pytest.raises(InvalidJob, match=r"row 2 has 2 vectors, but an array has one for each"):
            output.append([result(1, embed([1.0])), result(2, embed([1.0], [2.0]))])
        size = output.append([result(1, embed([1.0]))])
    with open_output(path, resume_at=size) as output:
        with pytest.raises(InvalidJob, match="the vector of row 2 has 2 numbers, those before it"):
            output.append([result(2, embed([1.0, 2.0]))])
        output.finish()
    assert np.load(path).tolist() == [[1.0]]


def test_the_file_of_rows_is_not_overwritten_unasked(path, result):
    (path.parent / "vectors.npy.jsonl").write_text("precious")
    with pytest.raises(InvalidJob, match=r"vectors\.npy\.jsonl: exists already"):
        open_output(path)
    with open_output(path, overwrite=True) as output:
        output.append([result(1, embed([1.0]))])
        output.finish()
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "vectors.npy",
        "vectors.npy.jsonl",
    ]


def test_a_row_without_an_answer_is_nan(path):
    assert np.isnan(np.frombuffer(packed_nan(3), "<f4")).all()
