"""`forebay router train-doubt`: fits the doubt model, if there is enough to fit to."""

import pytest
from typer.testing import CliRunner

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence
from forebay.workers.commands.router import app
from outcomefiles import paths, write_files, write_outcomes


@pytest.fixture
def files(tmp_path):
    write_files(tmp_path)
    return tmp_path


def train_doubt(files, count, wrong, models="a,b", *, other=None):
    """Fit to equal answers of two models, of which `wrong` are wrong."""
    uids, right = [f"q{n}" for n in range(count)], [float(n >= wrong) for n in range(count)]
    write_outcomes(files, uid=uids * 2, model=["a"] * count + ["b"] * count,
        pred=["1"] * count * 2, score=[*right, *(other or right)])  # fmt: skip
    folder = files / "doubt"
    args = ["train-doubt", *paths(files), "--models", models, "--out", str(folder)]
    return CliRunner().invoke(app, args, catch_exceptions=False), folder / "doubt_model.json"


def test_the_fitted_doubt_is_how_often_shared_answers_are_wrong(files):
    done, path = train_doubt(files, 20, 8)
    assert done.exit_code == 0
    evidence = Evidence("generate", 0.5, agreements=(1.0,), rates=(0.75,))
    assert 0.3 < DoubtModel.load(path).probability(evidence) < 0.5


@pytest.mark.parametrize(
    ("count", "wrong", "message"),
    [
        (4, 2, "only 4 prompts; 20 are needed"),
        (40, 0, "only right answers, or only wrong ones"),
    ],
)
def test_too_little_to_fit_to_is_an_error(files, count, wrong, message):
    with pytest.raises(Misconfigured, match=message):
        train_doubt(files, count, wrong)


def test_models_that_are_no_match_for_each_other_are_an_error(files):
    with pytest.raises(Misconfigured, match="--models: names no two models whose mean scores"):
        train_doubt(files, 40, 20, other=[1.0] * 40)


def test_a_single_model_is_an_error(files):
    with pytest.raises(Misconfigured, match="--models: must name two or more models"):
        train_doubt(files, 40, 8, models="a")
