"""Reading prompts and outcomes: what counts, and the error of each kind of bad file."""

from itertools import permutations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay.routing.errors import Misconfigured
from forebay.workers.training.data import dataset
from outcomefiles import change_prompts, write_files, write_outcomes


@pytest.fixture
def files(tmp_path):
    write_files(tmp_path)
    return tmp_path


def test_several_models_count_as_the_mean_of_those_that_answered(files):
    rows = {"uid": ["q0", "q0", "q1", "q0", "q1"], "model": list("abacc"), "score": [1, 0, 1, 1, 1]}
    pq.write_table(pa.table(rows), files / "outcomes.parquet")
    data = dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["a", "b"], ["c"])
    assert data.uids == ["q0", "q1"]
    assert data.weak.tolist() == [0.5, 1.0]


def test_several_answers_of_a_model_count_as_their_mean_in_any_order(files):
    """Tenths, since their floating-point sums depend on the order."""
    rows = [("q0", "a", 0.1), ("q0", "a", 0.2), ("q0", "a", 0.7), ("q0", "b", 1.0)]
    means = set()
    for order in permutations(rows):
        write_outcomes(
            files, **dict(zip(("uid", "model", "score"), zip(*order, strict=True), strict=True))
        )
        data = dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["a"], ["b"])
        means.add(data.weak[0])
    assert len(means) == 1
    assert means.pop() == pytest.approx(1 / 3)


def test_scores_are_scaled_to_1(files):
    rows = {"uid": ["q0", "q0"], "model": ["a", "b"], "score": [4.0, 8.0]}
    pq.write_table(pa.table(rows), files / "outcomes.parquet")
    data = dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["a"], ["b"])
    assert (data.weak[0], data.strong[0], data.scale) == (0.5, 1.0, 8.0)


def unknown_model(folder):
    write_outcomes(folder, uid=["q0"], model=["other"], score=[1.0])


def missing_column(folder):
    write_outcomes(folder, uid=["q0"], model=["small"])


def score_that_is_nan(folder):
    write_outcomes(folder, uid=["q0"], model=["small"], score=[float("nan")])


def no_shared_prompt(folder):
    write_outcomes(folder, uid=["q0", "q1"], model=["small", "large"], score=[1.0, 1.0])


def repeated_prompt(folder):
    pq.write_table(
        pa.table({"uid": ["q0", "q0"], "prompt": ["a", "b"], "job_type": ["", ""]}),
        folder / "prompts.parquet",
    )


def empty_prompt(folder):
    change_prompts(folder, prompt=[None, *["a"] * 159])


def number_for_prompt(folder):
    change_prompts(folder, prompt=list(range(160)))


def prompt_not_utf8(folder):
    ends, broken = pa.array(range(161), pa.int32()).buffers()[1], pa.py_buffer(b"\xff" * 160)
    change_prompts(folder, prompt=pa.StringArray.from_buffers(160, ends, broken))


def boolean_job_type(folder):
    change_prompts(folder, job_type=[True] * 160)


def empty_model(folder):
    write_outcomes(folder, uid=["q0", "q0"], model=["small", None], score=[1.0, 1.0])


def no_parquet(folder):
    (folder / "outcomes.parquet").write_text("uid,model,score")


def folder_for_file(folder):
    (folder / "prompts.parquet").unlink()
    (folder / "prompts.parquet").mkdir()


def no_rows(folder):
    nothing = pa.array([], pa.string())
    write_outcomes(folder, uid=nothing, model=nothing, score=pa.array([], pa.float64()))


def missing_file(folder):
    (folder / "outcomes.parquet").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (unknown_model, "column 'model' has no 'small'; it has other"),
        (missing_column, "has no column 'score'"),
        (
            score_that_is_nan,
            r"row 1: column 'score' must be a number of 0 or more; it is nan \(model small\)",
        ),
        (no_shared_prompt, "no prompt that both small and large answered"),
        (repeated_prompt, "row 2: column 'uid' names a prompt for the second time"),
        (empty_prompt, "row 1: column 'prompt' is empty in 1 of 160 rows"),
        (number_for_prompt, "column 'prompt' must be text; it is int64"),
        (prompt_not_utf8, "column 'prompt' is not UTF-8"),
        (boolean_job_type, "column 'job_type' must be text or whole numbers; it is bool"),
        (empty_model, "row 2: column 'model' is empty in 1 of 2 rows"),
        (
            no_parquet,
            "is not a Parquet file, or is damaged; other files must end in .csv or .jsonl",
        ),
        (missing_file, "cannot be read: No such file"),
        (folder_for_file, "is a folder; name the file in it"),
        (no_rows, "has no rows"),
    ],
)
def test_a_bad_file_is_one_error_that_names_file_column_and_model(files, spoil, message):
    spoil(files)
    with pytest.raises(Misconfigured, match=message) as caught:
        dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["small"], ["large"])
    assert caught.value.field
    assert caught.value.field.endswith(".parquet")


def test_names_stored_as_whole_numbers_or_dictionaries_are_read_as_text(files):
    types = [n % 3 if n else None for n in range(160)]
    change_prompts(
        files, uid=range(160), job_type=types, source=pa.array(["s"] * 160).dictionary_encode()
    )
    write_outcomes(files, uid=["0", "1", "0", "1"], model=list("aabb"), score=[1, 0, 1, 1])
    data = dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["a"], ["b"])
    assert (data.uids, data.types, data.sources) == (["0", "1"], ["", "1"], ["s", "s"])
