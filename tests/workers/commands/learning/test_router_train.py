"""`forebay router train`: the same files give the same weights; mistakes are one clear error."""

import json

import pytest
from typer.testing import CliRunner

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.commands.router import app
from outcomefiles import PROMPTS, paths, write_files, write_outcomes

pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path):
    write_files(tmp_path)
    return tmp_path


def train(folder, *options):
    args = ["train", *paths(folder), "--weak", "small", "--strong", "large", *options]
    return CliRunner().invoke(app, args, catch_exceptions=False)


def test_the_same_files_give_the_same_bytes_and_weights_that_tell_hard_from_easy(files):
    for name in ("one", "two"):
        done = train(files, "--out", str(files / name), "--json")
        assert json.loads(done.stdout)["prompts"] == PROMPTS
    one, two = (files / name / "router_model.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size < 500_000
    model = RouterModel.load(one)
    hard, easy = (
        model.read("derive the integral of a boat"),
        model.read("name the colour of a boat"),
    )
    assert hard.gap > easy.gap
    assert hard.probability < easy.probability


def test_another_seed_or_fewer_labels_give_another_version(files):
    reports = []
    for options in ((), ("--seed", "1"), ("--labels", "100")):
        done = train(files, "--out", str(files), "--json", *options)
        reports.append(json.loads(done.stdout))
    assert len({report["version"] for report in reports}) == 3
    assert reports[2]["prompts"] == 100


@pytest.mark.parametrize(
    ("local", "gap", "chance", "options"),
    [(0.0, 1.0, 0.5 / 161, ()), (1.0, 0.0, 160.5 / 161, ("--no-job-type",))],
)
def test_if_all_scores_are_alike_the_text_changes_nothing(files, local, gap, chance, options):
    write_outcomes(
        files,
        uid=[f"q{n}" for n in range(PROMPTS)] * 2,
        model=["small"] * PROMPTS + ["large"] * PROMPTS,
        score=[local] * PROMPTS + [1.0] * PROMPTS,
    )
    assert train(files, "--out", str(files), *options).exit_code == 0
    model = RouterModel.load(files / "router_model.json")
    for text, job_type in (("derive the integral of a boat", "proof"), ("name it", None)):
        assert model.read(text, job_type) == pytest.approx((gap, chance), abs=1e-6)


def test_too_few_prompts_are_an_error(files):
    write_outcomes(files, uid=["q0", "q0"], model=["small", "large"], score=[0.0, 1.0])
    with pytest.raises(Misconfigured, match="only 1 prompts; 20 are needed"):
        train(files, "--out", str(files))
