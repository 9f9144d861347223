"""`forebay calibrate`: better verdicts out of audits, published where better, and taken back."""

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
    MAX_VERSIONS_KEPT,
    Calibration,
    Calibrations,
)
from forebay.routing.learning.verdicts import features
from forebay.routing.scoring.logit import logistic, logit
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.commands import calibrate, router_pace
from forebay.workers.training.fitting.fit_calibration import trial

pytest_plugins = ["waterfall"]

MODEL = RouterModel.load().version


@pytest.fixture
def command(capsys):
    """Run the command; what it prints."""

    def run(*args):
        capsys.readouterr()
        typer.main.get_command(calibrate.app).main(args=list(args), standalone_mode=False)
        return capsys.readouterr().out

    return run


def audit(random_, *, off=True, tenant="acme", **fields):
    """One of a world where the model is too sure of itself, and blind to long texts.

    With `off=False` it is right.
    """
    said, length = random_.uniform(0.2, 0.98), random_.gauss(5, 1)
    wrong = 0.25 * (length - 5) if off else 0.0
    truth = logistic(0.6 * logit(said) - 0.9) - wrong if off else said
    outcome = float(random_.random() < min(0.98, max(0.02, truth)))
    kept = {
        "job": f"{tenant}.{random_.getrandbits(128):032x}", "tenant": tenant,
        "kind": "generate", "type": "a type",
        "version": MODEL, "score": 1 - said, "probability": said, "model": MODEL,
        "base_score": 1 - said, "base_probability": said, "outcome": outcome, "how": "compared",
        "features": {"length": length, "kind_generate": 1.0, "commas": random_.random()},
    }  # fmt: skip
    return Audit(**{**kept, **fields})


def world(count, seed=1, **fields):
    draw = random.Random(seed)
    return [audit(draw, **fields) for _ in range(count)]


def keep(redis, audits):
    pipe = redis.pipeline()
    for one in audits:
        pipe.xadd("fb:audits", {"audit": one.model_dump_json()})
    pipe.execute()


def half(_tenant, _kind):
    return 0.5


# --- fitting -------------------------------------------------------------------------------------


def test_what_is_fitted_is_better_where_it_was_not_fitted():
    tried = trial(world(900), Calibration(model=MODEL), half)
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
    # Fitted again it is no better than itself.
    assert trial(world(900), tried.candidate, half).accepted == ()


def test_a_model_that_is_right_is_left_alone():
    tried = trial(world(900, off=False), Calibration(model=MODEL), half)
    assert tried.accepted == ()
    assert tried.candidate.model_copy(update={"report": {}}) == Calibration(model=MODEL)


def test_the_same_audits_give_the_same_calibration():
    one, two = (trial(world(300), Calibration(model=MODEL), half) for _ in range(2))
    assert one == two


def test_answers_that_are_all_right_or_all_equal_break_nothing():
    same = [one.model_copy(update={"outcome": 0.7, "features": {}}) for one in world(60)]
    tried = trial(same, Calibration(model=MODEL), half)
    assert "auc" not in tried.before
    assert tried.candidate.weights == {}


# --- moving verdicts -----------------------------------------------------------------------------


def test_a_verdict_is_moved_by_its_features_and_only_that_of_the_same_model():
    moved = Calibration(version=3, model="m", slope=0.5, intercept=-1, weights={"length": 0.1})
    verdict = Verdict(probability=0.9, score=0.1, version="m")
    seen = moved.move(verdict, {"length": 2.0, "other": 9.0})
    assert (round(seen.score, 6), seen.version) == (0.3, "m+3")
    assert seen.probability == pytest.approx(logistic(0.5 * logit(0.9) - 1))
    assert moved.move(verdict, {"length": 1e9}).score == pytest.approx(1.1)
    other = verdict.model_copy(update={"version": "n"})
    assert moved.move(other, {"length": 2.0}) == other


def test_features_are_numbers_with_names_and_no_content():
    job = Job(request=Generate(messages=[Message(role="user", content="kanarie " * 50)]))
    found = features(job)
    assert "kanarie" not in " ".join(found)
    assert all(isinstance(value, float) for value in found.values())
    assert len(found) < 100
    assert len(Calibration(model="m", weights=found).model_dump_json()) < 4_000


# --- the command ---------------------------------------------------------------------------------


def test_a_better_version_is_followed_by_a_running_router(lanes, redis, command, capsys):
    job = Job(tenant="acme", request=Generate(messages=[Message(role="user", content="hello")]))
    router = lanes.workers["route"]._verdicts
    before = router.verdict(job)
    keep(redis, world(600))
    told = json.loads(command("--json"))
    assert (told["scope"], told["from"], told["to"]) == (EVERYBODY, 0, 1)
    assert told["accepted"] == ["probability", "score"]
    after = router.verdict(job)
    assert after.version == f"{MODEL}+1"
    assert (after.probability, after.score) != (before.probability, before.score)
    router_pace.status(as_json=True)
    assert json.loads(capsys.readouterr().out)["calibrations"] == {EVERYBODY: 1}
    router_pace.status()
    assert f"router model {MODEL}, calibration 1 for *" in capsys.readouterr().out
    claim_of = lanes.ask(job.request)
    assert lanes.ledger.record(claim_of.id).verdict.version == f"{MODEL}+1"
    command("--rollback", "0")
    assert router.verdict(job) == before
    command("--rollback", "1")
    assert router.verdict(job) == after


def test_a_dry_run_and_no_gain_change_nothing(redis, lanes, command):
    keep(redis, world(300))
    assert "nothing changed, as you asked" in command("--dry-run")
    redis.delete("fb:audits")
    keep(redis, world(300, off=False))
    assert "nothing changes" in command()
    assert redis.keys("fb:calibration:*") == []


def test_a_tenant_has_its_own_which_goes_before_everybodys(redis, lanes, command):
    keep(redis, world(300) + world(300, seed=2, tenant="globex", off=False))
    told = json.loads(command("--tenant", "acme", "--json"))
    assert (told["scope"], told["to"]) == ("acme", 1)
    calibrations = Calibrations(redis)
    assert calibrations.of("acme").report["brier"] == round(told["after"]["brier"], 4)
    assert calibrations.of("globex") is None


def test_types_are_counted_anew_by_what_is_foretold_now(redis, lanes, command):
    keep(redis, world(600))
    redis.hset("fb:types:acme", mapping={"a type": "90 40 0", "gone": "1 1 0"})
    command()
    (name, value), *others = redis.hgetall("fb:types:acme").items()
    assert (name, others) == (b"a type", [])
    number, total, _ = map(float, value.split())
    assert 90 < number <= 100
    assert abs(total / number) < 0.12


@pytest.mark.parametrize(
    "fields", [{"stand_in": True}, {"model": "an older one"}], ids=["stand-in", "other model"]
)
def test_what_teaches_nothing_is_left_out(redis, lanes, command, fields):
    keep(redis, world(300, **fields))
    with pytest.raises(InvalidJob, match="there are 0 audits to learn from, not 100"):
        command()


def test_the_stand_ins_answers_can_be_asked_for(redis, lanes, command):
    keep(redis, world(300, stand_in=True))
    assert json.loads(command("--stand-in", "--json"))["to"] == 1


def test_a_version_that_is_not_kept_is_a_clear_error(redis, lanes, command):
    with pytest.raises(InvalidJob, match="is not kept; there are 0"):
        command("--rollback", "7")


def test_only_the_last_versions_are_kept(redis):
    calibrations = Calibrations(redis)
    for _ in range(MAX_VERSIONS_KEPT + 3):
        calibrations.publish("acme", Calibration(model=MODEL))
    kept = [one.version for one in calibrations.versions("acme")]
    assert kept == list(range(MAX_VERSIONS_KEPT + 3, 3, -1))
    assert calibrations.current("acme").version == MAX_VERSIONS_KEPT + 3


def test_a_calibration_that_somebody_else_wrote_is_none(redis):
    for current in ("1", "x"):
        redis.hset("fb:calibration:acme", mapping={"current": current, "1": "no JSON"})
        assert Calibrations(redis).of("acme") is None


def test_without_redis_what_was_read_last_holds_and_for_others_none(redis, monkeypatch):
    monkeypatch.setattr("forebay.routing.learning.calibration.LOOK_EVERY_S", 0)
    calibrations = Calibrations(redis)
    calibrations.publish("acme", Calibration(model=MODEL))
    assert calibrations.of("acme").version == 1
    monkeypatch.setattr(redis, "hget", Mock(side_effect=redis_py.ConnectionError))
    assert calibrations.of("acme").version == 1
    assert calibrations.of("globex") is None


def test_without_its_libraries_it_says_what_to_install(redis, lanes, command, monkeypatch):
    keep(redis, world(120))
    monkeypatch.delitem(sys.modules, "forebay.workers.training.fitting.fit_calibration")
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(Misconfigured, match="extra `router`"):
        LazyCommand("calibrate", COMMANDS["calibrate"]).main(args=[], standalone_mode=False)
