"""`forebay router publish`: a fleet follows a fitted model, and goes back to an earlier one."""

from __future__ import annotations

import json
from unittest.mock import Mock

import pytest
import redis as redis_py
from typer.testing import CliRunner

from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.routing.jobs import Generate, Message
from forebay.routing.learning import versions
from forebay.routing.learning.calibration import EVERYBODY, Calibration, Calibrations
from forebay.routing.learning.versions import Models
from forebay.routing.scoring.doubt_model import DoubtModel
from forebay.routing.scoring.router_model import RouterModel
from forebay.workers.commands.learning.publish import MAX_BYTES
from forebay.workers.commands.router import app
from outcomefiles import paths, write_files

pytest_plugins = ["waterfall"]

PACKAGED = RouterModel.load().version
RULES = "[defaults]\nthresholds = { generate = 0.5 }\n"
HARD, EASY = "derive the integral of a boat", "name the colour of a boat"


@pytest.fixture
def files(tmp_path):
    write_files(tmp_path)
    return tmp_path


@pytest.fixture
def folder(files):
    """A folder with fitted weights."""
    forebay("train", *trained(files))
    return files


def trained(folder, *options):
    models = ("--weak", "small", "--strong", "large")
    return (*paths(folder), *models, "--out", str(folder), *options)


def forebay(*args):
    done = CliRunner().invoke(app, args, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def ask(lanes, text):
    """Return the verdict on a new job, and the lane in which it was answered."""
    job = lanes.ask(Generate(messages=[Message(role="user", content=text)]))
    lanes.work()
    record = lanes.ledger.record(job.id)
    return record.verdict, record.to_receipt().lane


@pytest.mark.slow
def test_a_running_fleet_decides_by_a_published_model_until_it_is_rolled_back(lanes, files):
    lanes.policy.write_text(RULES)
    before = ask(lanes, HARD), ask(lanes, EASY)
    assert {verdict.version for verdict, _ in before} == {PACKAGED}
    report = json.loads(forebay("train", *trained(files, "--publish"), "--json"))
    assert report["published"] == 1
    (hard, up), (easy, stayed) = ask(lanes, HARD), ask(lanes, EASY)
    assert hard.version == easy.version == report["version"] != PACKAGED
    assert (up, stayed) == ("bedrock", "local")
    assert (up, stayed) != tuple(lane for _, lane in before)
    words = forebay("status")
    assert f"router model {report['version']}: version 1, published on" in words
    assert "packaged weights" in forebay("publish", "--rollback", "0")
    assert [ask(lanes, text)[1] for text in (HARD, EASY)] == [lane for _, lane in before]
    kept = f"router model {PACKAGED}: packaged\n  kept versions: 1 ({report['version']})\n"
    assert kept in forebay("status")
    forebay("publish", "--rollback", "1")
    assert ask(lanes, HARD)[0].version == report["version"]


def test_the_calibration_of_another_model_does_not_move_verdicts(lanes, redis, folder):
    Calibrations(redis).publish(EVERYBODY, Calibration(model=PACKAGED, intercept=-1.0))
    assert ask(lanes, HARD)[0].version == f"{PACKAGED}+1"
    redis.hset("fb:types:acme", "a type", "50 20 0")
    report = json.loads(forebay("publish", str(folder / "router_model.json"), "--json"))
    assert ask(lanes, HARD)[0].version == report["model"]
    forebay("publish", "--rollback", "0")
    assert ask(lanes, HARD)[0].version == f"{PACKAGED}+1"


def test_a_published_doubt_model_weighs_answers(lanes, redis, tmp_path):
    weights = json.loads(DoubtModel.packaged.read_text())
    path = tmp_path / "doubt_model.json"
    path.write_text(json.dumps(weights))
    assert "version 1" in forebay("publish", str(path))
    models = Models(redis, DoubtModel)
    assert models.now().version == models.current().name == weights["version"]
    assert "packaged weights" in forebay("publish", "--rollback", "0", "--model", "doubt")
    assert models.current() is None


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "holds no JSON, or is cut short"),
        ("[" * 100_000, "holds no JSON, or is cut short"),
        ("[1, 2]", "holds neither a router model nor a doubt model"),
        ('{"version": "gpt-4"}', "holds neither a router model nor a doubt model"),
        ('{"version": "text-1"}', "kinds: is missing, add it"),
        ('{"version": "cascade-1"}', "set FOREBAY_CASCADE_MODEL to the file"),
        ('{"version": "encoder-1"}', "set FOREBAY_ROUTER_ENCODER to the file"),
        ("x" * (MAX_BYTES + 1), "is larger than 8 MB"),
    ],
)
def test_a_foreign_file_is_one_clear_error(lanes, redis, tmp_path, content, found):
    path = tmp_path / "some.json"
    path.write_text(content)
    with pytest.raises(Misconfigured, match=found):
        forebay("publish", str(path))
    assert redis.keys("fb:model:*") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('"gap":', '"gap": 1', "does not fit its version|must be|JSON|should be"),
        ('"seed 0', '"seed 9', "does not fit its version"),
        ('"types": {', '"kinds2": 1, "types": {', "kinds2"),
    ],
)
def test_a_damaged_file_is_one_clear_error(lanes, redis, folder, old, new, found):
    path = folder / "router_model.json"
    content = path.read_text()
    path.write_text(content[:-200] if old not in content else content.replace(old, new, 1))
    with pytest.raises(Misconfigured, match=found if old in content else "cut short"):
        forebay("publish", str(path))
    assert redis.keys("fb:model:*") == []


def test_other_mistakes_are_one_clear_error(lanes, tmp_path):
    for args, found in (
        ((), "give either a file or --rollback"),
        (("x.json", "--rollback", "1"), "give either a file or --rollback"),
        ((str(tmp_path),), "is a folder"),
        ((str(tmp_path / "none.json"),), "cannot be read: No such file"),
    ):
        with pytest.raises(Misconfigured, match=found):
            forebay("publish", *args)
    with pytest.raises(InvalidJob, match=r"must be one of 0$"):
        forebay("publish", "--rollback", "3")


def test_a_version_that_another_program_damaged_leaves_the_packaged_model(redis, caplog):
    models = Models(redis, RouterModel)
    models.publish(RouterModel.packaged.read_bytes())
    redis.hset("fb:model:router_model", "1", "no JSON")
    assert Models(redis, RouterModel).now().version == PACKAGED
    assert "version 1 of fb:model:router_model cannot be read" in caplog.text


def test_only_the_last_versions_are_kept(redis):
    models = Models(redis, DoubtModel)
    content = DoubtModel.packaged.read_bytes()
    for _ in range(versions.MAX_VERSIONS_KEPT + 2):
        models.publish(content)
    assert [each.version for each in models.kept()] == list(range(12, 2, -1))


def test_without_redis_the_last_model_is_used(redis, monkeypatch):
    monkeypatch.setattr(versions, "LOOK_EVERY_S", 0)
    models = Models(redis, DoubtModel)
    models.publish(changed_doubt())
    assert models.now().version == "doubt-other"
    monkeypatch.setattr(redis, "hget", Mock(side_effect=redis_py.ConnectionError))
    assert models.now().version == "doubt-other"
    assert Models(redis, DoubtModel).now().version == DoubtModel.load().version


def changed_doubt():
    weights = json.loads(DoubtModel.packaged.read_text()) | {"version": "doubt-other"}
    return json.dumps(weights).encode()
