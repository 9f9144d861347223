"""`forebay calibrate`: verdicts fitted to audits, published if better, and rolled back."""

from __future__ import annotations

import json
import random
import sys
from unittest.mock import Mock

import pytest
import redis as redis_py
import typer

from forebay.producers.cli.worker_commands import COMMANDS, LazyCommand
from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.jobs import Generate, Job, Message, Verdict
from forebay.routing.learning.audits import Audit
from forebay.routing.learning.calibration import (
    EVERYBODY,
    Calibration,
    Calibrations,
)
from forebay.routing.learning.verdicts import features
from forebay.routing.learning.versions import MAX_VERSIONS_KEPT
from forebay.routing.scoring.doubt_model import DoubtModel
from forebay.routing.scoring.logit import logistic, logit
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.commands import calibrate
from forebay.workers.commands.learning import status
from forebay.workers.training.calibration.fit_calibration import trial

pytest_plugins = ["waterfall"]

MODEL, DOUBT = RouterModel.load().version, DoubtModel.load().version


@pytest.fixture
def command(capsys):
    """Run the command and return its output."""

    def run(*args):
        capsys.readouterr()
        typer.main.get_command(calibrate.app).main(args=list(args), standalone_mode=False)
        return capsys.readouterr().out

    return run


def audit(random_, *, off=True, tenant="acme", **fields):
    """Return an audit of a model that is overconfident and ignores the length of texts.

    With `off=False` the model is right.
    """
    probability, length = random_.uniform(0.2, 0.98), random_.gauss(5, 1)
    wrong = 0.25 * (length - 5) if off else 0.0
    truth = logistic(0.6 * logit(probability) - 0.9) - wrong if off else probability
    outcome = float(random_.random() < min(0.98, max(0.02, truth)))
    values = {
        "job": f"{tenant}.{random_.getrandbits(128):032x}", "tenant": tenant,
        "kind": "generate", "type": "a type",
        "version": MODEL, "score": 1 - probability, "probability": probability, "model": MODEL,
        "base_score": 1 - probability, "base_probability": probability, "outcome": outcome,
        "how": "compared",
        "features": {"length": length, "kind_generate": 1.0, "commas": random_.random()},
    }  # fmt: skip
    return Audit(**{**values, **fields})


def world(count, seed=1, **fields):
    draw = random.Random(seed)
    return [audit(draw, **fields) for _ in range(count)]


def store(redis, audits):
    pipe = redis.pipeline()
    for each in audits:
        pipe.xadd("fb:audits", {"audit": each.model_dump_json()})
    pipe.execute()


def half(_tenant, _kind):
    return 0.5


# --- fitting -------------------------------------------------------------------------------------


def test_a_calibration_is_better_on_audits_that_it_was_not_fitted_on():
    tried = trial(world(900), Calibration(model=MODEL), half, DOUBT)
    assert tried.accepted == ("probability", "score")
    assert tried.after["brier"] < tried.before["brier"] - 0.02
    assert tried.after["ece"] < 0.08 < tried.before["ece"]
    assert tried.after["auc"] > tried.before["auc"] + 0.03
    assert tried.after["gap_error"] < tried.before["gap_error"]
    assert tried.after["kept"] < tried.before["kept"]
    assert tried.after["agreement"] > tried.before["agreement"]
    assert tried.fitted + tried.held_back == 900
    assert tried.candidate.weights["length"] > 0.1
    assert abs(tried.candidate.slope - 0.6) < 0.2
    # A second fit is no better than the first.
    assert trial(world(900), tried.candidate, half, DOUBT).accepted == ()


def test_a_model_that_is_right_is_left_alone():
    tried = trial(world(900, off=False), Calibration(model=MODEL), half, DOUBT)
    assert tried.accepted == ()
    assert tried.candidate.model_copy(update={"report": {}}) == Calibration(model=MODEL)


def test_the_same_audits_give_the_same_calibration():
    first, second = (trial(world(300), Calibration(model=MODEL), half, DOUBT) for _ in range(2))
    assert first == second


def test_outcomes_that_are_all_equal_break_nothing():
    same = [each.model_copy(update={"outcome": 0.7, "features": {}}) for each in world(60)]
    tried = trial(same, Calibration(model=MODEL), half, DOUBT)
    assert "auc" not in tried.before
    assert tried.candidate.weights == {}


# --- moving verdicts -----------------------------------------------------------------------------


def test_a_verdict_is_moved_by_its_features_if_the_same_model_gave_it():
    calibration = Calibration(
        version=3, model="m", slope=0.5, intercept=-1, weights={"length": 0.1}
    )
    verdict = Verdict(probability=0.9, score=0.1, version="m")
    moved = calibration.move(verdict, {"length": 2.0, "other": 9.0})
    assert (round(moved.score, 6), moved.version) == (0.3, "m+3")
    assert moved.probability == pytest.approx(logistic(0.5 * logit(0.9) - 1))
    assert calibration.move(verdict, {"length": 1e9}).score == pytest.approx(1.1)
    other = verdict.model_copy(update={"version": "n"})
    assert calibration.move(other, {"length": 2.0}) == other


def test_features_are_named_numbers_without_content():
    job = Job(request=Generate(messages=[Message(role="user", content="kanarie " * 50)]))
    values = features(job)
    assert "kanarie" not in " ".join(values)
    assert all(isinstance(value, float) for value in values.values())
    assert len(values) < 100
    assert len(Calibration(model="m", weights=values).model_dump_json()) < 4_000


# --- the command ---------------------------------------------------------------------------------


def test_a_running_router_follows_a_better_version(lanes, redis, command, capsys):
    job = Job(tenant="acme", request=Generate(messages=[Message(role="user", content="hello")]))
    router = lanes.workers["route"]._verdicts
    before = router.verdict(job)
    store(redis, world(600))
    report = json.loads(command("--json"))
    assert (report["scope"], report["from"], report["to"]) == (EVERYBODY, 0, 1)
    assert report["accepted"] == ["probability", "score"]
    after = router.verdict(job)
    assert after.version == f"{MODEL}+1"
    assert (after.probability, after.score) != (before.probability, before.score)
    status.status(as_json=True)
    assert json.loads(capsys.readouterr().out)["calibrations"] == {EVERYBODY: 1}
    status.status()
    words = capsys.readouterr().out
    assert "calibration 1 for all tenants, made on " in words
    assert "  learned from 600 audits: the verdict's probability, the verdict's score\n" in words
    routed = lanes.ask(job.request)
    assert lanes.ledger.record(routed.id).verdict.version == f"{MODEL}+1"
    command("--rollback", "0")
    assert router.verdict(job) == before
    command("--rollback", "1")
    assert router.verdict(job) == after


def test_neither_a_dry_run_nor_a_fit_without_gain_changes_anything(redis, lanes, command):
    store(redis, world(300))
    assert "nothing changed, as you asked" in command("--dry-run")
    redis.delete("fb:audits")
    store(redis, world(300, off=False))
    assert "nothing changes" in command()
    assert redis.keys("fb:calibration:*") == []


def test_a_tenants_own_calibration_precedes_that_of_all_tenants(redis, lanes, command):
    store(redis, world(300) + world(300, seed=2, tenant="globex", off=False))
    report = json.loads(command("--tenant", "acme", "--json"))
    assert (report["scope"], report["to"]) == ("acme", 1)
    calibrations = Calibrations(redis)
    assert calibrations.of("acme").report["brier"] == round(report["after"]["brier"], 4)
    assert calibrations.of("globex") is None


def test_types_are_counted_again_by_the_new_calibration(redis, lanes, command):
    store(redis, world(600))
    redis.hset("fb:types:acme", mapping={"a type": "90 40 0", "gone": "1 1 0"})
    command()
    (name, value), *others = redis.hgetall("fb:types:acme").items()
    assert (name, others) == (b"a type", [])
    number, total, _ = map(float, value.split())
    assert 90 < number <= 100
    assert abs(total / number) < 0.12


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"stand_in": True}, r"300 are by the mock of Bedrock \(--stand-in uses them\)"),
        ({"model": "an older one"}, f"300 are of another router model than {MODEL}"),
    ],
    ids=["mock", "other model"],
)
def test_audits_of_the_mock_and_of_other_models_are_left_out(redis, lanes, command, fields, why):
    store(redis, world(300, **fields))
    with pytest.raises(
        InvalidJob, match=f"--min: there are 0 audits to learn from, not 100; {why}"
    ):
        command()


def test_audits_of_the_mock_can_be_included(redis, lanes, command):
    store(redis, world(300, stand_in=True))
    assert json.loads(command("--stand-in", "--json"))["to"] == 1


def test_a_name_that_no_tenant_can_have_is_an_error(redis, lanes, command):
    with pytest.raises(typer.BadParameter, match="lower-case letters, digits"):
        command("--tenant", "No Body!")


def test_a_version_that_is_not_kept_raises_a_clear_error(redis, lanes, command):
    with pytest.raises(InvalidJob, match=r"version: must be one of 0$"):
        command("--rollback", "7")


def test_only_the_last_versions_are_kept(redis):
    calibrations = Calibrations(redis)
    for _ in range(MAX_VERSIONS_KEPT + 3):
        calibrations.publish("acme", Calibration(model=MODEL))
    kept = [each.version for each in calibrations.versions("acme")]
    assert kept == list(range(MAX_VERSIONS_KEPT + 3, 3, -1))
    assert calibrations.current("acme").version == MAX_VERSIONS_KEPT + 3


def test_a_calibration_that_another_program_wrote_is_ignored(redis):
    for current in ("1", "x"):
        redis.hset("fb:calibration:acme", mapping={"current": current, "1": "no JSON"})
        assert Calibrations(redis).of("acme") is None


def test_without_redis_the_last_calibration_is_used_and_none_for_new_tenants(redis, monkeypatch):
    monkeypatch.setattr("forebay.routing.learning.calibration.LOOK_EVERY_S", 0)
    calibrations = Calibrations(redis)
    calibrations.publish("acme", Calibration(model=MODEL))
    assert calibrations.of("acme").version == 1
    monkeypatch.setattr(redis, "hget", Mock(side_effect=redis_py.ConnectionError))
    assert calibrations.of("acme").version == 1
    assert calibrations.of("globex") is None


def test_without_its_libraries_the_command_says_what_to_install(redis, lanes, command, monkeypatch):
    store(redis, world(120))
    monkeypatch.delitem(sys.modules, "forebay.workers.training.calibration.fit_calibration")
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(Misconfigured, match="extra `router`"):
        LazyCommand("calibrate", COMMANDS["calibrate"]).main(args=[], standalone_mode=False)
