"""Measuring routers: the figures are those that can be worked out by hand."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from forebay.routing.errors import Misconfigured
from forebay.workers.commands.router import app
from forebay.workers.training.data import local_answers
from forebay.workers.training.data.ranking_metrics import NAMES, Ranked, calibration_error

EASY, HARD = "name the colour of", "prove the theorem about"


def ranked(score, weak, strong, probability=None):
    lists = (score, weak, strong, probability)
    return Ranked(*(None if each is None else np.array(each, dtype=float) for each in lists))


# --- metrics ------------------------------------------------------------------------------------


def test_the_best_order_recovers_all_with_the_jobs_that_gain():
    """Ten jobs of which two gain: an oracle has all at 20 %."""
    weak = [0, 0, *[1] * 8]
    figures = ranked([2, 2, *[1] * 8], weak, [1] * 10).measure()
    assert figures["pgr10"] == pytest.approx(0.5)
    assert figures["pgr20"] == pytest.approx(1.0)
    assert figures["cpt50"] == pytest.approx(10.0)
    assert figures["cpt80"] == pytest.approx(16.0)
    assert figures["apgr"] == pytest.approx(0.1 * (0 + 1) / 2 + 0.1 * 0.25 - 0.025 + 0.85)
    assert figures["auc"] == 1.0


def test_the_worst_order_recovers_nothing_until_the_end():
    figures = ranked([0, 0, *[1] * 8], [0, 0, *[1] * 8], [1] * 10).measure()
    assert figures["pgr20"] == 0
    assert figures["cpt50"] == pytest.approx(90.0)
    assert figures["apgr"] == pytest.approx(0.1)
    assert figures["auc"] == 0.0


def test_ties_go_up_in_proportion_whatever_their_order():
    """A constant score is a random router in expectation: the diagonal."""
    weak = np.arange(40) % 3 == 0
    figures = ranked([1] * 40, weak, [1] * 40).measure()
    assert figures["apgr"] == pytest.approx(0.5)
    assert figures["pgr10"] == pytest.approx(0.1)
    assert figures["cpt80"] == pytest.approx(80.0)
    assert figures["auc"] == 0.5


def test_where_the_strong_answer_is_worse_the_curve_goes_above_one_and_back():
    figures = ranked([3, 3, 2, 1], [0, 0, 1, 1], [1, 1, 1, 0]).measure()
    assert figures["cpt80"] < 50
    assert figures["apgr"] > 1


def test_counts_say_how_often_a_job_is_in_the_sample():
    once = ranked([3, 2, 2, 1], [0, 1, 1, 0], [1, 1, 1, 1])
    twice = ranked([3, 2, 2], [0, 1, 1], [1, 1, 1])
    assert once.measure(np.array([1.0, 1, 1, 0])) == twice.measure()


def test_intervals_hold_the_figure_and_shrink_with_more_jobs():
    draw = np.random.default_rng(0)

    def width(size):
        weak = (draw.random(size) < 0.5).astype(float)
        router = ranked(draw.random(size) - 0.3 * weak, weak, np.ones(size))
        low, high = router.intervals(200, seed=1)["apgr"]
        assert low < router.measure()["apgr"] < high
        return high - low

    assert width(4_000) < width(200) / 2


@pytest.mark.parametrize(("gaining", "losing"), [(4, 0), (12, 3)])
def test_resamples_in_which_there_is_no_gap_are_left_out_of_what_divides_by_it(gaining, losing):
    """Of 40 and 100 jobs: about one resample in a hundred."""
    size = 40 if losing == 0 else 100
    weak = np.arange(size) < losing
    strong = np.arange(size) >= size - gaining
    router = ranked(strong * 1.0 - weak, weak, strong)
    low, high = router.intervals(1_000, seed=0)["pgr20"]
    assert 1 <= low <= high


def test_a_gap_that_may_be_none_leaves_intervals_to_what_does_not_divide_by_it():
    draw = np.random.default_rng(0)
    weak, strong = draw.random(200) < 0.5, draw.random(200) < 0.53
    router = ranked(draw.random(200), weak, strong, np.full(200, 0.5))
    assert set(router.measure()) == set(NAMES)
    assert set(router.intervals(200, seed=0)) == {"auc", "ece"}


def test_calibration_is_the_mean_distance_of_what_was_said_from_what_came():
    said = np.repeat([0.2, 0.8], 50)
    came = np.concatenate([np.arange(50) < 10, np.arange(50) < 40]).astype(float)
    assert calibration_error(said, came) == pytest.approx(0.0)
    assert calibration_error(np.full(100, 0.5), came) == pytest.approx(0.0)
    assert calibration_error(1 - said, came) == pytest.approx(0.6)
    assert calibration_error(np.full(100, 0.9), np.zeros(100)) == pytest.approx(0.9)


# --- the command --------------------------------------------------------------------------------


def _row(number, model, *, right):
    """The answer to a question is its number; wrong ones are the model's own."""
    wrong = {"small": f"{number + 7}", "other": f"{number + 9}"}
    return f"q{number}", model, float(right), f"${number}.0" if right else wrong[model]


@pytest.fixture
def files(tmp_path):
    """Hard questions are got wrong by `small`, in nine of ten cases; `other` errs on its own."""
    draw = np.random.default_rng(3)
    hard, size = draw.random(240) < 0.4, 240
    uids = [f"q{n}" for n in range(size)]
    prompts = [f"{HARD if each else EASY} thing {n}" for n, each in enumerate(hard)]
    right = np.where(draw.random(size) < 0.9, ~hard, hard)
    others = draw.random(size) < 0.8
    types = ["proof" if each else "plain" for each in hard]
    pq.write_table(
        pa.table({"uid": uids, "job_type": types, "prompt": prompts}), tmp_path / "prompts.parquet"
    )
    rows = [_row(n, "small", right=bool(each)) for n, each in enumerate(right)]
    rows += [_row(n, "other", right=bool(each)) for n, each in enumerate(others)]
    rows += [_row(n, "large", right=True) for n in range(size)]
    columns = dict(
        zip(("uid", "model", "score", "pred"), map(list, zip(*rows, strict=True)), strict=True)
    )
    pq.write_table(pa.table(columns), tmp_path / "outcomes.parquet")
    return tmp_path


def words(folder, strong="large"):
    files = ["--prompts", str(folder / "prompts.parquet")]
    files += ["--outcomes", str(folder / "outcomes.parquet")]
    return [*files, "--weak", "small", "--strong", strong]


def evaluate(folder, *more, strong="large"):
    said = ["eval", *words(folder, strong), *more]
    return CliRunner().invoke(app, said, catch_exceptions=False)


def report(folder, *more):
    return json.loads(evaluate(folder, "--json", *more).stdout)


def preds(folder):
    return "--second", "other", "--preds", str(folder / "outcomes.parquet")


def test_a_router_fitted_on_labels_beats_chance_and_no_router_the_oracle(files):
    told = report(files, "--labels", "120", *preds(files), "--curves", str(files / "c.svg"))
    routers = told["routers"]
    assert told["n"] == 120
    assert told["strong"] == 1.0
    assert set(routers) == {
        "random", "type mean", "verdict", "second opinion", "doubt", "cascade", "oracle",
    }  # fmt: skip
    assert routers["random"]["apgr"] < 0.62 < routers["verdict"]["apgr"]
    assert (
        routers["verdict"]["apgr"] < routers["second opinion"]["apgr"] <= routers["oracle"]["apgr"]
    )
    assert routers["cascade"]["apgr"] > routers["verdict"]["apgr"]
    for figures in routers.values():
        assert set(figures) == {*NAMES, "intervals"}
        low, high = figures["intervals"]["apgr"]
        assert low <= figures["apgr"] <= high
    assert routers["oracle"]["ece"] is None
    assert "<svg" in (files / "c.svg").read_text()


def test_the_same_seed_gives_the_same_report_and_without_types_none_are_used(files):
    more = ("--labels", "100", "--no-job-type", "--seed", "5")
    told = report(files, *more)
    assert told == report(files, *more)
    assert "type mean" not in told["routers"]


def test_what_is_measured_on_labels_is_what_training_on_them_writes(files):
    """Of a file with several sources too: the figures on the rest are those of the weights."""
    table = pq.read_table(files / "prompts.parquet")
    table = table.append_column("source", [["left" if n % 3 else "right" for n in range(240)]])
    pq.write_table(table, files / "prompts.parquet")
    measured = report(files, "--labels", "140")
    made = files / "made"
    done = CliRunner().invoke(app, ["train", *words(files), "--labels", "140", "--out", str(made)])
    assert done.exit_code == 0
    rest = np.sort(np.random.default_rng(0).permutation(240)[140:])
    pq.write_table(table.take(rest), files / "prompts.parquet")
    judged = report(files, "--weights", str(made))
    assert judged["n"] == measured["n"] == 100
    for name in NAMES:
        assert judged["routers"]["verdict"][name] == measured["routers"]["verdict"][name]


def test_weights_of_a_folder_are_judged_on_all_prompts_and_so_are_the_packaged_ones(files):
    folder = files / "made"
    assert CliRunner().invoke(app, ["train", *words(files), "--out", str(folder)]).exit_code == 0
    ours, packaged = report(files, "--weights", str(folder)), report(files, *preds(files))
    assert ours["n"] == packaged["n"] == 240
    assert ours["routers"]["verdict"]["apgr"] > packaged["routers"]["verdict"]["apgr"]
    shipped = packaged["routers"]["doubt"]
    assert shipped["apgr"] == pytest.approx(packaged["routers"]["second opinion"]["apgr"], abs=0.01)
    assert shipped["apgr"] > packaged["routers"]["verdict"]["apgr"] + 0.05
    assert shipped["auc"] > 0.7


def test_the_table_for_people_has_a_row_a_router(files):
    table = evaluate(files, "--folds", "3").stdout
    assert re.search(r"^n 240 ", table)
    assert all(
        re.search(f"^{name} ", table, re.MULTILINE) for name in ("random", "verdict", "oracle")
    )


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--labels", "50", "--folds", "3"), "give one of"),
        (("--second", "other"), "go together"),
        (("--labels", "240"), "less than the 240 prompts"),
        (("--weights", "/nowhere"), "cannot be read"),
        (("--curves", "c.txt"), "must end in .png or .svg"),
    ],
)
def test_what_does_not_fit_together_is_one_clear_error(files, more, says):
    with pytest.raises(Misconfigured, match=says):
        evaluate(files, *more)


def test_a_gap_that_only_the_prompts_to_fit_on_have_is_none(files):
    table = pq.read_table(files / "outcomes.parquet").to_pydict()
    rest = {f"q{n}" for n in np.random.default_rng(0).permutation(240)[200:]}
    table["score"] = [
        float(model == "small") if uid in rest else score
        for uid, model, score in zip(table["uid"], table["model"], table["score"], strict=True)
    ]
    pq.write_table(pa.table(table), files / "outcomes.parquet")
    with pytest.raises(Misconfigured, match="no gap: on the 40 evaluated prompts"):
        evaluate(files, "--labels", "200")


def test_a_gap_that_may_be_none_is_measured_without_an_interval(files):
    uids, models = ["q0", "q0", "q1", "q1", "q2", "q2"], ["small", "large"] * 3
    columns = {"uid": uids, "model": models, "score": [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]}
    pq.write_table(pa.table(columns), files / "outcomes.parquet")
    figures = report(files)["routers"]["verdict"]
    assert figures["apgr"] is not None
    assert figures["intervals"]["apgr"] is None
    assert figures["auc"] is None
    assert re.search(r"^verdict .* -$", evaluate(files).stdout, re.MULTILINE)


def test_too_few_prompts_to_fit_on_are_an_error(files):
    pq.write_table(pq.read_table(files / "prompts.parquet").slice(0, 24), files / "prompts.parquet")
    with pytest.raises(Misconfigured, match="only 18 prompts; 20 are needed to fit on"):
        evaluate(files, "--folds", "4")
    with pytest.raises(Misconfigured, match="only 19 prompts; 20 are needed to fit on"):
        evaluate(files, *preds(files))


def test_no_gap_and_no_such_second_model_are_errors(files):
    with pytest.raises(Misconfigured, match="no gap"):
        evaluate(files, strong="small")
    with pytest.raises(Misconfigured, match="has no 'nobody'; it has large, other, small"):
        evaluate(files, "--second", "nobody", "--preds", str(files / "outcomes.parquet"))


def test_a_second_model_without_any_answers_is_an_error(files):
    table = pq.read_table(files / "outcomes.parquet").to_pydict()
    silent = [
        None if model == "other" else pred
        for model, pred in zip(table["model"], table["pred"], strict=True)
    ]
    pq.write_table(pa.table(table | {"pred": silent}), files / "silent.parquet")
    with pytest.raises(Misconfigured, match="has no answer of 'other'"):
        evaluate(files, "--second", "other", "--preds", str(files / "silent.parquet"))


@pytest.mark.parametrize(
    ("preds", "agreed"),
    [([18.0, 0.5, 18.0, 0.25], [[1], [0]]), ([True, False, True, True], [[1], [0]])],
    ids=["numbers", "true and false"],
)
def test_local_answers_may_be_numbers_or_truths(tmp_path, preds, agreed):
    rows = {"uid": ["a", "b"] * 2, "model": ["m", "m", "o", "o"], "pred": preds}
    pq.write_table(pa.table(rows), tmp_path / "preds.parquet")
    answers = local_answers.read(tmp_path / "preds.parquet", ["a", "b"], "m", ["o"])
    assert answers.agreements().tolist() == agreed


def test_of_several_answers_of_a_model_the_first_is_held_against_the_others(tmp_path):
    rows = {"uid": ["a", "b", "a", "b"], "model": ["m"] * 4, "pred": ["1", None, "2", "2"]}
    other = {"uid": ["a", "b"], "model": ["o"] * 2, "pred": [" 1 ", "2"]}
    columns = {name: rows[name] + other[name] for name in rows}
    pq.write_table(pa.table(columns), tmp_path / "preds.parquet")
    answers = local_answers.read(tmp_path / "preds.parquet", ["a", "b"], "m", ["o"])
    assert (answers.first, answers.others) == (["1", None], [["1", "2"]])
