"""The sentence encoder's reading: fitted to outcomes, kept in verdicts, weighed by calibration."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Generate, Job, Message
from forebay.routing.learning.calibration import EVERYBODY, Calibration, Calibrations
from forebay.routing.learning.verdicts import Verdicts, features
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.commands.router import app
from forebay.workers.models.encoder_reading import EncoderReading, EncoderWeights
from forebay.workers.training.fitting import fit_encoder
from outcomefiles import paths, write_files

pytestmark = [pytest.mark.slow, pytest.mark.no_cover]

MODELS = ("--weak", "small", "--strong", "large", "--encoder", "--json")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


def run(*args):
    done = CliRunner().invoke(app, [*map(str, args)], catch_exceptions=False)
    return json.loads(done.output)


@pytest.fixture(scope="module")
def model_file(files):
    run("train", *paths(files), *MODELS, "--no-job-type", "--out", files / "weights")
    return files / "weights" / "encoder_model.json"


@pytest.fixture(scope="module")
def reading(model_file):
    return EncoderReading.load(model_file)


def job(text):
    return Job(request=Generate(messages=[Message(role="user", content=text)]))


def test_a_reading_tells_hard_texts_from_easy_ones_that_it_has_not_seen(reading, model_file):
    hard, easy = reading("prove the theorem about a river"), reading("name the colour of a river")
    assert hard > easy + 0.3
    assert hard == reading("prove the theorem about a river")
    assert EncoderWeights.read(model_file).version.startswith("encoder-")
    assert "river" not in model_file.read_text()


def test_a_verdict_keeps_the_reading_and_its_score_follows_once_calibration_weighs_it(
    reading, redis
):
    model = RouterModel.load()
    hard = job("prove the theorem about a river")
    before = Verdicts(model, redis, b"key", reading).verdict(hard)
    assert before.encoded == pytest.approx(reading("prove the theorem about a river"), abs=1e-4)
    assert before.score == Verdicts(model, redis, b"key").verdict(hard).score
    assert features(hard, before.encoded)["encoder"] == before.encoded
    assert "encoder" not in features(hard)
    weighed = Calibration(model=model.version, weights={"encoder": 0.5})
    Calibrations(redis).publish(EVERYBODY, weighed)
    after = Verdicts(model, redis, b"key", reading).verdict(hard)
    assert after.score == pytest.approx(before.score + 0.5 * before.encoded, abs=1e-5)
    assert Verdicts(model, redis, b"key").plain(hard, before.encoded)[1] == after.score


def test_eval_measures_the_verdict_with_the_reading_beside_the_verdict(files):
    report = run("eval", *paths(files), *MODELS, "--folds", "2")
    both = report["routers"]["with encoder"], report["routers"]["verdict"]
    assert all(figures["apgr"] > 0.6 for figures in both)


def test_a_reading_needs_labels_and_the_encoder_that_it_was_fitted_with(files, model_file):
    with pytest.raises(Misconfigured, match="--encoder: needs --labels or --folds"):
        run("eval", *paths(files), *MODELS)
    document = json.loads(model_file.read_text())
    for change, message in (
        ({"revision": "other"}, "FOREBAY_ROUTER_ENCODER: was fitted with another version"),
        ({"centres": "AAAA"}, "must hold a packed vector for each weight"),
    ):
        wrong = model_file.with_name("wrong.json")
        wrong.write_text(json.dumps(document | change))
        with pytest.raises(Misconfigured, match=message):
            EncoderReading.load(wrong)


def test_the_error_of_held_out_texts_is_that_of_a_fit_without_them():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(30, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    target = vectors[:, 0] + 0.1 * draw.normal(size=30)
    near = np.exp(2.0 * (vectors @ vectors.T - 1))
    errors = []
    for row in range(30):
        rest = np.delete(np.arange(30), row)
        weights = np.linalg.solve(near[np.ix_(rest, rest)] + 3.0 * np.eye(29), target[rest])
        errors.append(target[row] - near[row, rest] @ weights)
    found = {penalty: error for error, _, penalty in fit_encoder._held_out(vectors, target, 2.0)}
    assert found[3.0] == pytest.approx(np.mean(np.square(errors)))
