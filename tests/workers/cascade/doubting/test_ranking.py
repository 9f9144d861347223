"""The learned cascade: trained from files or audits, and the same in a worker as in `eval`."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Generate, Generation, Job, Message
from forebay.routing.learning.audits import Audit
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.scoring.cascade_model import CascadeModel, rank
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import Settings
from forebay.workers.cascade.check import check
from forebay.workers.cascade.doubting.doubt import Doubter
from forebay.workers.cascade.doubting.ranking import Ranking
from forebay.workers.cascade.stages import ComparedAnswer, Opinion, RawAnswer
from forebay.workers.checks import agreement
from forebay.workers.commands.router import app
from forebay.workers.engines.settings import LocalSettings
from forebay.workers.training.data.ranking_metrics import Ranked
from ledger_jobs import BELL
from locallane import attempt_of
from outcomefiles import PROMPTS, paths, write_files, write_outcomes

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]

PAIR = ("--weak", "small", "--strong", "large")
MODELS = (*PAIR, "--second", "other")
THREE = (*PAIR, "--second", "other,third")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write answers of which the wrong ones often differ, and are long where both are wrong."""
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    draw = random.Random(1)
    right = pq.read_table(folder / "outcomes.parquet").to_pydict()["score"][:PROMPTS]
    small, other, third = [], [], []
    for number, score in enumerate(right):
        agrees = draw.random() < (0.9 if score else 0.4)
        padding = "" if score else " I am not sure at all of this."
        small.append(f"The answer is {number}.{padding}")
        other.append(f"The answer is {number if agrees else number + 1000}.")
        third.append(f"The answer is {number if agrees == (number % 5 > 0) else number + 500}.")
    uids, models = [f"q{n}" for n in range(PROMPTS)], ("small", "other", "large", "third")
    write_outcomes(
        folder, uid=uids * 4, model=[name for name in models for _ in uids],
        pred=[*small, *other, *[""] * PROMPTS, *third],
        score=[*right, *right, *[1.0] * PROMPTS, *right],
    )  # fmt: skip
    return folder


def run(*args):
    done = CliRunner().invoke(app, [*map(str, args)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def fitted(files, models, name):
    """Fit a cascade model to the files; return its path."""
    preds = ("--preds", files / "outcomes.parquet", "--out", files / name, "--json")
    document = run("train-cascade", *paths(files), *models, *preds)
    assert document["version"].startswith("cascade-")
    assert document["bytes"] < 100_000
    return files / name / "cascade_model.json"


@pytest.fixture(scope="module")
def model_file(files):
    return fitted(files, MODELS, "weights")


def worker_scores(files, model_file, redis):
    """Return the score that a worker gives to each answer of the weak model."""
    opinions = CascadeModel.load(model_file).others
    settings = LocalSettings(
        cascade_model=model_file, second_opinions=opinions, second_engine="echo"
    )
    doubter = Doubter(redis, b"key", Ranking.configured(settings))
    ledger, router = Ledger(redis, Settings(), BELL), RouterModel.load()
    prompts = pq.read_table(files / "prompts.parquet").to_pydict()["prompt"]
    preds = pq.read_table(files / "outcomes.parquet").to_pydict()["pred"]
    doubts = []
    rows = zip(prompts, preds, preds[PROMPTS:], preds[3 * PROMPTS :], strict=False)
    for prompt, own, other, third in rows:
        request = Generate(messages=[Message(role="user", content=prompt)])
        verdict = router.verdict(Job(request=request))
        attempt = attempt_of(ledger, request=request, verdict=verdict)
        first, *others = (
            RawAnswer(name, name, 1, 1, Generation(text=text))
            for name, text in (("small", own), ("other", other), ("third", third))
        )
        opinion = opinion_of(first, *others[:opinions])
        compared = ComparedAnswer(attempt, check(attempt.job, first), opinion)
        doubts.append(doubter.doubt(compared).doubt)
    return doubts


def opinion_of(first, second, third=None):
    agreed, rest = agreement.contents(first.content, second.content), {}
    if third:
        rest = {
            "third": Opinion(third, agreement.contents(first.content, third.content)),
            "together": agreement.contents(second.content, third.content),
        }
    return Opinion(second, agreed, **rest)


@pytest.mark.parametrize("models", [MODELS, THREE])
def test_a_worker_ranks_answers_exactly_as_eval_does(files, models, redis):
    model_file = fitted(files, models, models[-1].replace(",", "_"))
    options = ("--preds", files / "outcomes.parquet", "--cascade", model_file, "--no-job-type")
    report = run("eval", *paths(files), *models, *options, "--json")
    doubts = worker_scores(files, model_file, redis)
    assert {doubt.cascade for doubt in doubts} == {CascadeModel.load(model_file).version}
    weak = np.array(pq.read_table(files / "outcomes.parquet").to_pydict()["score"][:PROMPTS])
    measured = Ranked(np.array([d.score for d in doubts]), weak, np.ones(PROMPTS)).measure()
    evaluated = report["routers"]["cascade model"]
    for name in ("apgr", "pgr20", "auc"):
        assert measured[name] == pytest.approx(evaluated[name], abs=1e-4)
    assert evaluated["apgr"] > report["routers"]["second opinion"]["apgr"]
    assert report["routers"]["cascade"]["apgr"] > report["routers"]["second opinion"]["apgr"]


def test_a_cascade_is_fitted_to_the_verdicts_of_the_weights_that_are_named(files, model_file):
    def version(name, folder):
        model = fitted(files, (*MODELS, "--weights", folder), name)
        return json.loads(model.read_text())["version"]

    own = files / "own"
    own.mkdir()
    weights = json.loads(RouterModel.packaged.read_text())
    (own / "router_model.json").write_text(json.dumps(weights))
    of_packaged = CascadeModel.load(model_file).version
    assert version("by a copy", own) == of_packaged
    weights["kinds"]["generate"]["gap"] += 0.1
    (own / "router_model.json").write_text(json.dumps(weights))
    assert version("by own", own) != of_packaged
    with pytest.raises(Misconfigured, match=r"router_model\.json: cannot be read: No such file"):
        version("by none", files / "none")


def test_a_model_for_another_number_of_opinions_is_one_clear_error(model_file):
    settings = LocalSettings(cascade_model=model_file, second_opinions=2, second_engine="echo")
    with pytest.raises(Misconfigured, match="FOREBAY_CASCADE_MODEL: was fitted to 1 further"):
        Ranking.configured(settings)


def test_other_kinds_and_answers_without_a_second_opinion_keep_their_score(model_file, redis):
    ranking = Ranking.configured(LocalSettings(cascade_model=model_file, cascade_kinds="extract"))
    ledger = Ledger(redis, Settings(), BELL)
    attempt = attempt_of(ledger, request=Generate(messages=[Message(role="user", content="hi")]))
    first = RawAnswer("small", "small", 1, 1, Generation(text="4"))
    opinion = Opinion(first, 1.0)
    for given, kinds in ((opinion, ranking), (None, ranking)):
        compared = ComparedAnswer(attempt, check(attempt.job, first), given)
        doubt = Doubter(redis, b"key", kinds).doubt(compared).doubt
        assert doubt.cascade is None
        assert abs(doubt.score - doubt.probability) < 0.001


@pytest.mark.parametrize("others", [1, 2])
def test_audits_teach_a_cascade(others, redis, redis_url, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    draw = random.Random(3)
    for _ in range(200):
        wrong, length = draw.random() < 0.4, draw.random()
        agreed = float(draw.random() < (0.3 if wrong else 0.9))
        audit = Audit(
            job=f"acme.{draw.getrandbits(128):032x}", tenant="acme", kind="generate", type="t",
            version="v", score=0.2, probability=0.6, model="v", base_score=0.2,
            base_probability=0.6, agreement=agreed, agreements=(agreed,) * others * (others > 1),
            outcome=1 - wrong, how="compared",
            answer={"first_length": 3 + length + wrong},
        )  # fmt: skip
        redis.xadd("fb:audits", {"audit": audit.model_dump_json()})
    run("train-cascade", "--audits", "--out", tmp_path, "--json")
    model = CascadeModel.load(tmp_path / "cascade_model.json")
    assert model.others == others
    known = {"gap": 0.2, "probability": 0.6, "agreed_1": 1.0, "agreed_mean": 1.0}
    short, long = ({**known, "first_length": length} for length in (3.2, 4.8))
    assert model.score(short, [1.0] * others) < model.score(long, [1.0] * others)
    with pytest.raises(Misconfigured, match="--audits: finds 0 audits"):
        run("train-cascade", "--audits", "--tenant", "globex", "--out", tmp_path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--weak", "small"], "--prompts: is needed, or --audits"),
        (["--audits", "--weak", "small"], "--weak: cannot be given with --audits"),
    ],
)
def test_missing_and_contradicting_options_are_one_clear_error(args, message, tmp_path):
    with pytest.raises(Misconfigured, match=message):
        run("train-cascade", *args, "--out", tmp_path)


def test_without_a_difference_between_answers_there_is_nothing_to_rank(files, tmp_path):
    """All local answers are wrong, and all of the frontier's are right."""
    table = pq.read_table(files / "outcomes.parquet").to_pydict()
    table["score"] = [float(model == "large") for model in table["model"]]
    write_outcomes(tmp_path, **table)
    outcomes = str(tmp_path / "outcomes.parquet")
    args = ("--prompts", files / "prompts.parquet", "--outcomes", outcomes, "--preds", outcomes)
    with pytest.raises(Misconfigured, match=r"--outcomes: .* there is nothing to rank"):
        run("train-cascade", *args, *MODELS, "--out", tmp_path)
    assert not (tmp_path / "cascade_model.json").exists()


def test_a_file_of_another_model_is_named_as_such(files, model_file, tmp_path):
    with pytest.raises(Misconfigured, match="is a router model, and a cascade model is needed"):
        CascadeModel.load(RouterModel.packaged)
    (tmp_path / "cut.json").write_bytes(model_file.read_bytes()[:-100])
    with pytest.raises(Misconfigured, match=r"cut\.json: holds no JSON, or is cut short"):
        CascadeModel.load(tmp_path / "cut.json")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(Misconfigured, match=r"other\.json: is no file of weights"):
        CascadeModel.load(tmp_path / "other.json")


def test_a_rank_is_the_place_among_quantiles():
    quantiles = (0.0, 0.0, 0.0, 1.0, 2.0)
    places = [rank(value, quantiles) for value in (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0)]
    assert places == [0.0, 0.25, 0.625, 0.75, 1.0, 1.0]
