"""`forebay router eval`: routers side by side on one file of outcomes."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from decision_gguf import make_decision_model
from forebay.routing.errors import Misconfigured
from forebay.workers.commands.router import app
from forebay.workers.training.data import dataset
from forebay.workers.training.data.ranking_metrics import NAMES
from forebay.workers.training.evaluation import evaluation

pytestmark = pytest.mark.slow

EASY, HARD = "name the colour of", "prove the theorem about"


def outcome(number, model, *, right):
    """Return a row of outcomes. The right answer is the prompt's number; models err apart."""
    wrong = {"small": f"{number + 7}", "other": f"{number + 9}"}
    return f"q{number}", model, float(right), f"${number}.0" if right else wrong[model]


@pytest.fixture(autouse=True)
def fewer_rounds(monkeypatch):
    """Draw a tenth of the samples of which an interval is made: they take most of the time."""
    monkeypatch.setattr(evaluation, "BOOTSTRAP_ROUNDS", 100)


@pytest.fixture
def files(tmp_path):
    """Write prompts whose hard ones `small` mostly fails, while `other` errs independently."""
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
    rows = [outcome(n, "small", right=bool(each)) for n, each in enumerate(right)]
    rows += [outcome(n, "other", right=bool(each)) for n, each in enumerate(others)]
    rows += [outcome(n, "large", right=True) for n in range(size)]
    columns = dict(
        zip(("uid", "model", "score", "pred"), map(list, zip(*rows, strict=True)), strict=True)
    )
    pq.write_table(pa.table(columns), tmp_path / "outcomes.parquet")
    return tmp_path


def options(folder, strong="large"):
    files = ["--prompts", str(folder / "prompts.parquet")]
    files += ["--outcomes", str(folder / "outcomes.parquet")]
    return [*files, "--weak", "small", "--strong", strong]


def evaluate(folder, *more, strong="large"):
    args = ["eval", *options(folder, strong), *more]
    return CliRunner().invoke(app, args, catch_exceptions=False)


def report(folder, *more):
    return json.loads(evaluate(folder, "--json", *more).stdout)


def preds(folder):
    return "--second", "other", "--preds", str(folder / "outcomes.parquet")


def test_a_fitted_router_beats_chance_and_no_router_beats_the_oracle(files):
    document = report(files, "--labels", "120", *preds(files), "--curves", str(files / "c.svg"))
    routers = document["routers"]
    assert document["n"] == 120
    assert document["strong"] == 1.0
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


def test_the_same_seed_gives_the_same_report_and_no_job_type_uses_none(files):
    more = ("--labels", "100", "--no-job-type", "--seed", "5")
    document = report(files, *more)
    assert document == report(files, *more)
    assert "type mean" not in document["routers"]


def test_labels_evaluate_the_weights_that_train_would_write(files):
    """Also for a file with several sources."""
    table = pq.read_table(files / "prompts.parquet")
    table = table.append_column("source", [["left" if n % 3 else "right" for n in range(240)]])
    pq.write_table(table, files / "prompts.parquet")
    measured = report(files, "--labels", "140")
    made = files / "made"
    done = CliRunner().invoke(
        app, ["train", *options(files), "--labels", "140", "--out", str(made)]
    )
    assert done.exit_code == 0
    rest = np.sort(np.random.default_rng(0).permutation(240)[140:])
    pq.write_table(table.take(rest), files / "prompts.parquet")
    evaluated = report(files, "--weights", str(made))
    assert evaluated["n"] == measured["n"] == 100
    for name in NAMES:
        assert evaluated["routers"]["verdict"][name] == measured["routers"]["verdict"][name]


def test_weights_of_a_folder_and_packaged_weights_are_evaluated_on_all_prompts(files):
    folder = files / "made"
    assert CliRunner().invoke(app, ["train", *options(files), "--out", str(folder)]).exit_code == 0
    ours, packaged = report(files, "--weights", str(folder)), report(files, *preds(files))
    assert ours["n"] == packaged["n"] == 240
    assert ours["routers"]["verdict"]["apgr"] > packaged["routers"]["verdict"]["apgr"]
    shipped = packaged["routers"]["doubt"]
    assert shipped["apgr"] == pytest.approx(packaged["routers"]["second opinion"]["apgr"], abs=0.01)
    assert shipped["apgr"] > packaged["routers"]["verdict"]["apgr"] + 0.05
    assert shipped["auc"] > 0.7


def test_the_table_has_a_row_for_each_router(files):
    table = evaluate(files, "--folds", "3").stdout
    assert re.search(r"^n 240 ", table)
    assert max(map(len, table.splitlines())) <= 80
    interval = r"-?[\d.]+ \(-?[\d.]+ to -?[\d.]+\)"
    assert re.search(f"^verdict +{interval} +{interval} +{interval}$", table, re.MULTILINE)
    assert all(
        re.search(f"^{name} ", table, re.MULTILINE) for name in ("random", "verdict", "oracle")
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--labels", "50", "--folds", "3"), "give one of"),
        (("--second", "other"), "go together"),
        (("--labels", "240"), "less than the 240 prompts"),
        (("--weights", "/nowhere"), "cannot be read"),
        (("--curves", "c.txt"), "must end in .png or .svg"),
        (("--curves", "/proc/nowhere/c.png"), "--curves: cannot be written"),
    ],
)
def test_options_that_exclude_each_other_are_one_clear_error(files, more, message):
    with pytest.raises(Misconfigured, match=message):
        evaluate(files, *more)


def test_a_gap_on_the_fitted_prompts_alone_is_no_gap(files):
    table = pq.read_table(files / "outcomes.parquet").to_pydict()
    rest = {f"q{n}" for n in np.random.default_rng(0).permutation(240)[200:]}
    table["score"] = [
        float(model == "small") if uid in rest else score
        for uid, model, score in zip(table["uid"], table["model"], table["score"], strict=True)
    ]
    pq.write_table(pa.table(table), files / "outcomes.parquet")
    with pytest.raises(Misconfigured, match="no gap: on the 40 evaluated prompts"):
        evaluate(files, "--labels", "200")


def test_a_gap_that_may_be_0_gives_metrics_without_intervals(files):
    uids, models = ["q0", "q0", "q1", "q1", "q2", "q2"], ["small", "large"] * 3
    columns = {"uid": uids, "model": models, "score": [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]}
    pq.write_table(pa.table(columns), files / "outcomes.parquet")
    figures = report(files)["routers"]["verdict"]
    assert figures["apgr"] is not None
    assert figures["intervals"]["apgr"] is None
    assert figures["auc"] is None
    words = evaluate(files).stdout
    assert re.search(r"^verdict +[-.\d]+ \(no interval\)", words, re.MULTILINE)


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


@pytest.mark.parametrize(
    ("weak", "strong", "second", "message"),
    [
        (" ,", "large", "other", "--weak: must name a model"),
        ("small", "", "other", "--strong: must name a model"),
        ("small", "large,large", "other", "--strong: names 'large' twice"),
        ("small", "large", ",", "--second: must name a model"),
        ("small", "large", "other,other", "--second: names 'other' twice"),
        ("small", "large", "other,small", "--second: names 'small', whose answers"),
    ],
)
def test_names_of_models_that_are_missing_or_repeated_are_errors(
    files, weak, strong, second, message
):
    args = ["eval", "--weak", weak, "--strong", strong, *options(files)[:4], *preds(files)]
    with pytest.raises(Misconfigured, match=message):
        CliRunner().invoke(app, [*args, "--second", second], catch_exceptions=False)


def test_more_prompts_than_can_be_fitted_to_are_sampled(files, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_CHARS", 1_500)
    words = evaluate(files, "--folds", "2").stdout
    count, total = map(int, re.match(r"evaluated on (\d+) of (\d+) prompts\n", words).groups())
    assert (40 < count < 80, total) == (True, 240)
    with pytest.raises(Misconfigured, match="--labels: must be at most"):
        evaluate(files, "--labels", "200")


def test_a_second_model_without_any_answers_is_an_error(files):
    table = pq.read_table(files / "outcomes.parquet").to_pydict()
    silent = [
        None if model == "other" else pred
        for model, pred in zip(table["model"], table["pred"], strict=True)
    ]
    pq.write_table(pa.table(table | {"pred": silent}), files / "silent.parquet")
    with pytest.raises(Misconfigured, match="has no answer of 'other'"):
        evaluate(files, "--second", "other", "--preds", str(files / "silent.parquet"))


def test_a_decision_model_is_compared_with_the_verdict(files, tmp_path):
    model = make_decision_model(tmp_path / "decider.gguf")
    document = report(files, "--labels", "230", "--decision-model", str(model))
    assert set(document["routers"]) == {
        "random", "type mean", "verdict", "decision model", "oracle",
    }  # fmt: skip
    assert 0 <= document["routers"]["decision model"]["auc"] <= 1
    with pytest.raises(Misconfigured) as caught:
        evaluate(files, "--decision-model", str(tmp_path / "none.gguf"))
    assert caught.value.field == "--decision-model"
