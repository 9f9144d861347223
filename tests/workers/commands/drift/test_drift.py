"""`forebay models drift`: pinned answers, what moved after a change, and what doctor says."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Classification, Generation
from forebay.workers.commands import doctor
from forebay.workers.commands.drift import command, comparison
from forebay.workers.commands.drift.panel import read_panel
from forebay.workers.commands.drift.record import PanelAnswer, Run, default_file
from forebay.workers.commands.models import app


@pytest.fixture
def forebay(tmp_path, monkeypatch):
    """Return a function that runs `forebay models drift` and returns exit code and output."""
    monkeypatch.setenv("FOREBAY_ENGINE", "echo")
    monkeypatch.setenv("FOREBAY_MODELS", str(tmp_path / "models"))

    def run(*args):
        done = CliRunner().invoke(app, ["drift", *map(str, args)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output

    return run


def write_panel(path, say):
    text = f"[[echo: say=The answer is {say}.]] How many?"
    requests = [
        {"kind": "generate", "messages": [{"role": "user", "content": text}]},
        {"kind": "classify", "text": "[[echo: confidence=0.9]] a bill", "labels": ["bill", "memo"]},
    ]
    path.write_text("".join(json.dumps(request) + "\n" for request in requests))
    return path


def test_the_same_model_on_the_packaged_panel_moves_nothing(forebay):
    code, words = forebay()
    assert (code, "pinned 18 answers of echo" in words) == (0, True)
    assert default_file().stat().st_mode & 0o777 == 0o600
    code, words = forebay()
    assert (code, "nothing moved" in words) == (0, True)
    document = json.loads(forebay("--json")[1])
    kinds = {each["kind"]: each for each in document["kinds"]}
    assert set(kinds) == {"classify", "extract", "summarize", "generate", "decide"}
    assert {each["exact"] for each in kinds.values()} == {1.0}
    assert [finding.state for finding in doctor.drift()] == ["ok"]


def test_a_model_that_answers_otherwise_is_shown_and_is_a_finding_of_doctor(forebay, tmp_path):
    panel = write_panel(tmp_path / "panel.jsonl", 17)
    forebay("--panel", panel)
    file = default_file()
    record = json.loads(file.read_text())
    first, second = record["pinned"]["answers"]
    first["content"]["text"] = "The answer is 18."
    second["content"] |= {"probability": 0.5}
    record["pinned"]["revision"] = "older"
    file.write_text(json.dumps(record))
    code, words = forebay("--panel", panel)
    assert code == 1
    assert "pinned  echo older by echo" in words
    assert "moved: agreement 0.00, less than 0.70" in words
    assert "moved: probabilities shifted by +0.4" in words
    (finding,) = doctor.drift()
    assert (finding.state, "generate: agreement 0.00" in finding.seen) == ("warn", True)
    assert forebay("--panel", panel, "--pin")[0] == 0
    assert [finding.state for finding in doctor.drift()] == ["ok"]


def test_another_panel_than_was_pinned_is_one_clear_error(forebay, tmp_path):
    forebay("--panel", write_panel(tmp_path / "panel.jsonl", 17))
    with pytest.raises(Misconfigured, match="--panel: has other jobs than were pinned; give --pin"):
        forebay()


def test_a_panel_may_have_a_byte_order_mark_and_any_character_in_its_texts(tmp_path):
    path = tmp_path / "panel.jsonl"
    request = '{"kind": "classify", "text": "a\u2028b", "labels": ["x", "y"]}'
    path.write_bytes(f"\ufeff{request}\r\n{request}\n".encode())
    assert [job.request.text for job in read_panel(path)] == ["a\u2028b", "a\u2028b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds 0 jobs"),
        ("no JSON", "line 1 is not JSON"),
        ("[" * 100_000, "line 1 is not JSON"),
        ('\n{"kind": "classify", "text": "a"}', "line 2: .*labels"),
    ],
)
def test_a_wrong_panel_names_the_line_and_the_field(tmp_path, text, message):
    path = tmp_path / "panel.jsonl"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=message):
        read_panel(path)
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_panel(tmp_path / "none")


def test_a_damaged_record_is_one_clear_error(forebay, tmp_path):
    (tmp_path / "record").write_text("{}")
    with pytest.raises(Misconfigured, match="is no record of drift"):
        forebay("--record", tmp_path / "record")


def test_a_record_that_cannot_be_written_is_an_error_before_anything_is_answered(
    forebay, tmp_path, monkeypatch
):
    monkeypatch.setattr(command, "open_engine", None)
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match=r"file/drift\.json: cannot be written: a file has"):
        forebay("--record", tmp_path / "file" / "drift.json", "--pin")
    with pytest.raises(Misconfigured, match="is a folder; name the file in it"):
        forebay("--record", tmp_path, "--pin")


def run_of(*answers):
    named = {"engine": "echo", "library": "", "model": "m", "revision": "r", "driver": ""}
    return Run(made=0, **named, answers=answers)


def test_fewer_passed_checks_and_missing_answers_are_moves():
    good = PanelAnswer(kind="generate", content=Generation(text="yes"), passed=True)
    bad = good.model_copy(update={"passed": False})
    none = PanelAnswer(kind="generate", content=None, passed=False)
    (found,) = comparison.compared(run_of(good, good), run_of(good, bad)).kinds
    assert (found.exact, found.moved) == (1.0, "50% passed their checks, 100% before")
    (found,) = comparison.compared(run_of(good, none), run_of(none, none)).kinds
    assert (found.exact, found.agreement) == (0.5, 0.5)


def test_labels_that_stay_but_are_less_sure_shift():
    def sure(probability):
        content = Classification(label="a", probability=probability)
        return PanelAnswer(kind="classify", content=content, passed=True)

    (found,) = comparison.compared(run_of(sure(0.9)), run_of(sure(0.6))).kinds
    assert (found.exact, found.agreement) == (0.0, 1.0)
    assert found.moved == "probabilities shifted by -0.30"
