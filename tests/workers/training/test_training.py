"""Training: from outcomes to weights. The same in, the same out; what is wrong has one error."""

import json
import tracemalloc
from itertools import permutations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence
from forebay.routing.scoring.hashed_ngrams import BINS
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.commands.router import app
from forebay.workers.training.data import dataset
from forebay.workers.training.fitting import boosting, ridge
from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
from forebay.workers.training.fitting.hyperparameters import Hyperparameters
from forebay.workers.training.fitting.type_means import TypeMeans, centred, source_weights

EASY = ("name the colour of", "say the day after", "spell the word for")
HARD = ("prove the theorem about", "derive the integral of", "compute the matrix of")
THINGS = ("a pump", "water", "the moon", "an apple", "iron", "a bridge", "rain", "a lake")


def questions(count, seed=0):
    """Prompts whose form says whether a local model will do, in nine of ten cases."""
    draw = np.random.default_rng(seed)
    hard = draw.random(count) < 0.5
    starts = [(HARD if each else EASY)[draw.integers(3)] for each in hard]
    prompts = [f"{start} {THINGS[draw.integers(8)]} {n}" for n, start in enumerate(starts)]
    local = np.where(draw.random(count) < 0.9, ~hard, hard).astype(float)
    return prompts, hard, local


@pytest.fixture
def files(tmp_path):
    """Two parquet files, as the commands take them."""
    prompts, hard, local = questions(160)
    uids = [f"q{n}" for n in range(len(prompts))]
    types = ["proof" if each else "plain" for each in hard]
    table = {"uid": uids, "job_type": types, "prompt": prompts}
    pq.write_table(pa.table(table), tmp_path / "prompts.parquet")
    rows = [(uid, "small", score) for uid, score in zip(uids, local, strict=True)]
    rows += [(uid, "large", 1.0) for uid in uids]
    columns = dict(zip(("uid", "model", "score"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "outcomes.parquet")
    return tmp_path


def arguments(folder, *more, weak="small", strong="large"):
    return [
        *("--prompts", str(folder / "prompts.parquet"), "--weak", weak, "--strong", strong),
        *("--outcomes", str(folder / "outcomes.parquet"), *more),
    ]


def run(*words):
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def test_training_twice_gives_the_same_bytes_and_weights_that_tell_hard_from_easy(files):
    for name in ("one", "two"):
        done = run("train", *arguments(files, "--out", str(files / name), "--json"))
        assert json.loads(done.stdout)["prompts"] == 160
    one, two = (files / name / "difficulty.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size < 500_000
    model = RouterModel.load(one)
    hard, easy = (
        model.read("derive the integral of a boat"),
        model.read("name the colour of a boat"),
    )
    assert hard.gap > easy.gap
    assert hard.probability < easy.probability


def test_another_seed_or_fewer_labels_are_another_version(files):
    told = []
    for more in ((), ("--seed", "1"), ("--labels", "100")):
        done = run("train", *arguments(files, "--out", str(files), "--json", *more))
        told.append(json.loads(done.stdout))
    assert len({each["version"] for each in told}) == 3
    assert told[2]["prompts"] == 100


@pytest.mark.parametrize(
    ("local", "gap", "chance", "more"),
    [(0.0, 1.0, 0.5 / 161, ()), (1.0, 0.0, 160.5 / 161, ("--no-job-type",))],
)
def test_where_all_answers_are_alike_the_text_says_nothing(files, local, gap, chance, more):
    _outcomes(
        files,
        uid=[f"q{n}" for n in range(160)] * 2,
        model=["small"] * 160 + ["large"] * 160,
        score=[local] * 160 + [1.0] * 160,
    )
    assert run("train", *arguments(files, "--out", str(files), *more)).exit_code == 0
    model = RouterModel.load(files / "difficulty.json")
    for text, job_type in (("derive the integral of a boat", "proof"), ("name it", None)):
        assert model.read(text, job_type) == pytest.approx((gap, chance), abs=1e-6)


# --- what goes in -------------------------------------------------------------------------------


def test_of_several_models_the_mean_of_those_that_answered_counts(files):
    rows = {"uid": ["q0", "q0", "q1", "q0", "q1"], "model": list("abacc"), "score": [1, 0, 1, 1, 1]}
    pq.write_table(pa.table(rows), files / "outcomes.parquet")
    data = dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["a", "b"], ["c"])
    assert data.uids == ["q0", "q1"]
    assert data.weak.tolist() == [0.5, 1.0]


def test_of_several_answers_of_a_model_the_mean_counts_in_any_order(files):
    """Of tenths, whose sums differ in the last place by their order."""
    rows = [("q0", "a", 0.1), ("q0", "a", 0.2), ("q0", "a", 0.7), ("q0", "b", 1.0)]
    found = set()
    for order in permutations(rows):
        _outcomes(
            files, **dict(zip(("uid", "model", "score"), zip(*order, strict=True), strict=True))
        )
        data = dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["a"], ["b"])
        found.add(data.weak[0])
    assert len(found) == 1
    assert found.pop() == pytest.approx(1 / 3)


def test_scores_of_another_scale_are_brought_to_one(files):
    rows = {"uid": ["q0", "q0"], "model": ["a", "b"], "score": [4.0, 8.0]}
    pq.write_table(pa.table(rows), files / "outcomes.parquet")
    data = dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["a"], ["b"])
    assert (data.weak[0], data.strong[0], data.scale) == (0.5, 1.0, 8.0)


def _outcomes(folder, **columns):
    pq.write_table(pa.table(columns), folder / "outcomes.parquet")


def _no_model(folder):
    _outcomes(folder, uid=["q0"], model=["other"], score=[1.0])


def _no_column(folder):
    _outcomes(folder, uid=["q0"], model=["small"])


def _bad_score(folder):
    _outcomes(folder, uid=["q0"], model=["small"], score=[float("nan")])


def _none_shared(folder):
    _outcomes(folder, uid=["q0", "q1"], model=["small", "large"], score=[1.0, 1.0])


def _twice(folder):
    pq.write_table(
        pa.table({"uid": ["q0", "q0"], "prompt": ["a", "b"], "job_type": ["", ""]}),
        folder / "prompts.parquet",
    )


def _prompts(folder, **columns):
    table = pq.read_table(folder / "prompts.parquet").to_pydict()
    pq.write_table(pa.table(table | columns), folder / "prompts.parquet")


def _no_prompt(folder):
    _prompts(folder, prompt=[None, *["a"] * 159])


def _number_for_prompt(folder):
    _prompts(folder, prompt=list(range(160)))


def _broken_prompt(folder):
    ends, broken = pa.array(range(161), pa.int32()).buffers()[1], pa.py_buffer(b"\xff" * 160)
    _prompts(folder, prompt=pa.StringArray.from_buffers(160, ends, broken))


def _yes_for_type(folder):
    _prompts(folder, job_type=[True] * 160)


def _no_name(folder):
    _outcomes(folder, uid=["q0", "q0"], model=["small", None], score=[1.0, 1.0])


def _no_parquet(folder):
    (folder / "outcomes.parquet").write_text("uid,model,score")


def _missing(folder):
    (folder / "outcomes.parquet").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_model, "column 'model' has no 'small'; it has other"),
        (_no_column, "has no column 'score'"),
        (_bad_score, r"column 'score' must be a number of 0 or more \(model small\)"),
        (_none_shared, "no prompt that both small and large answered"),
        (_twice, "column 'uid' names 1 prompts twice"),
        (_no_prompt, "column 'prompt' is empty in 1 of 160 rows"),
        (_number_for_prompt, "column 'prompt' must be text; it is int64"),
        (_broken_prompt, "column 'prompt' is not UTF-8"),
        (_yes_for_type, "column 'job_type' must be text or whole numbers; it is bool"),
        (_no_name, "column 'model' is empty in 1 of 2 rows"),
        (_no_parquet, "is not a parquet file"),
        (_missing, "cannot be read: No such file"),
    ],
)
def test_bad_files_are_one_clear_error_that_names_file_column_and_model(files, spoil, says):
    spoil(files)
    with pytest.raises(Misconfigured, match=says) as caught:
        dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["small"], ["large"])
    assert caught.value.field
    assert caught.value.field.endswith(".parquet")


def test_names_that_are_whole_numbers_or_of_few_values_are_text(files):
    types = [n % 3 if n else None for n in range(160)]
    _prompts(
        files, uid=range(160), job_type=types, source=pa.array(["s"] * 160).dictionary_encode()
    )
    _outcomes(files, uid=["0", "1", "0", "1"], model=list("aabb"), score=[1, 0, 1, 1])
    data = dataset.read(files / "prompts.parquet", files / "outcomes.parquet", ["a"], ["b"])
    assert (data.uids, data.types, data.sources) == (["0", "1"], ["", "1"], ["s", "s"])


def test_too_few_prompts_are_an_error(files):
    _outcomes(files, uid=["q0", "q0"], model=["small", "large"], score=[0.0, 1.0])
    with pytest.raises(Misconfigured, match="only 1 prompts; 20 are needed"):
        run("train", *arguments(files, "--out", str(files)))


def _doubted(files, count, wrong):
    """Answers of two models to so many prompts, of which so many of the first model are wrong."""
    uids, right = [f"q{n}" for n in range(count)], [float(n >= wrong) for n in range(count)]
    _outcomes(files, uid=uids * 2, model=["a"] * count + ["b"] * count, pred=["1"] * count * 2,
        score=[*right, *[1.0] * count])  # fmt: skip
    folder = files / "doubt"
    done = run("train-doubt", *("--prompts", str(files / "prompts.parquet"), "--models", "a,b"),
        *("--outcomes", str(files / "outcomes.parquet"), "--out", str(folder)))  # fmt: skip
    return done, folder / "doubt.json"


def test_doubt_is_fitted_to_what_is_enough(files):
    done, path = _doubted(files, 20, 8)
    assert done.exit_code == 0
    assert (
        0.1 < DoubtModel.load(path).probability(Evidence("generate", 0.5, agreements=(1.0,))) < 0.4
    )


@pytest.mark.parametrize(
    ("count", "wrong", "says"),
    [
        (4, 2, "only 4 prompts; 20 are needed"),
        (40, 0, "too few are wrong, or too few right"),
        (40, 1, "too few are wrong, or too few right"),
    ],
)
def test_too_little_to_doubt_is_an_error(files, count, wrong, says):
    with pytest.raises(Misconfigured, match=says):
        _doubted(files, count, wrong)


# --- the parts ----------------------------------------------------------------------------------


def test_the_trees_that_ship_say_what_was_fitted():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(300, 5))
    target = np.sign(rows[:, 0]) + rows[:, 1]
    forest = boosting.fit_forest(rows, target, np.ones(300), Hyperparameters(trees=80))
    together = boosting.predict(forest, rows)
    assert together.tolist() == pytest.approx([forest(row) for row in rows.tolist()])
    assert np.corrcoef(together, target)[0, 1] > 0.9


def test_a_type_seen_rarely_is_near_the_mean_of_all_and_an_unseen_one_at_it():
    values = np.array([1.0] * 200 + [0.0] * 2 + [0.5] * 100)
    types = ["often"] * 200 + ["rare"] * 2 + ["other"] * 100
    usual = TypeMeans.of(values, types, np.ones(len(values)))
    assert usual.types["often"] > 0.95
    assert 0.65 < usual.types["rare"] < usual.overall
    assert usual.predict(["never"], 1)[0] == usual.overall


def test_sources_are_centred_and_a_large_one_counts_for_less_than_its_size():
    sources = ["big"] * 100 + ["small"] * 4
    gap = np.array([0.5] * 100 + [0.1] * 4)
    data = dataset.Dataset(list("u" * 104), [""] * 104, None, sources, np.zeros(104), gap)
    weights = source_weights(data)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[-1] / weights[0] == pytest.approx(5.0)
    assert np.ptp(centred(gap, data, weights)) == pytest.approx(0.0)


def test_looks_are_those_of_a_verdict():
    looks = FeatureMatrix.of(["How much is 12 + 7?", "", "name the moon"])
    assert looks.bins.shape == (3, BINS)
    assert np.abs(looks.standard(looks.scales())).max() <= 4.0


def test_looking_at_texts_and_fitting_to_them_takes_little_more_memory_than_what_is_kept():
    """Of many texts what is kept are gigabytes."""
    draw = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in draw.integers(0, 9999, 200)) for _ in range(50)]
    looks, most = measured(lambda: FeatureMatrix.of(texts))
    kept = looks.bins.data.nbytes + looks.bins.indices.nbytes
    assert most < 2 * kept
    target, types, even = draw.normal(size=50), draw.integers(0, 5, 50), np.ones(50)
    assert measured(lambda: ridge.fit_bins(looks.bins, target, even, 15.0))[1] < 3 * kept
    assert measured(lambda: ridge.fit_types(looks.bins, types, target, even, 15.0))[1] < 3 * kept


def measured(doing):
    """What it gives, and the most bytes that were taken at a time."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        return doing(), tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
