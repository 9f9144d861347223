"""The commands `forebay bulk …`, over a fleet in this process."""

import csv
import json
import os
import signal

import pytest

from forebay.producers.bulk.handle import BulkHandle
from forebay.producers.cli import main

pytest_plugins = ["waterfall", "answering"]

ROWS = "".join(f'{{"body": "my login {n}"}}\n' for n in range(60))
CLASSIFY = ("--kind", "classify", "--text-field", "body")


@pytest.fixture
def forebay(capsys, lanes, answering, monkeypatch):
    """Return a function that runs a command and returns its exit code, stdout and stderr."""
    settings = lanes.ledger.settings
    monkeypatch.setenv("FOREBAY_CACHE_KEY", settings.cache_key.get_secret_value())
    monkeypatch.setenv("FOREBAY_TENANT", "acme")

    def run(*args):
        code = main.run([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "labels.txt").write_text("billing\nlogin\n")
    return tmp_path


def arguments(folder, *more):
    return (
        "bulk", "run", folder / "rows.jsonl", *CLASSIFY, "--labels", folder / "labels.txt", *more,
    )  # fmt: skip


def test_a_file_is_answered_and_the_bulk_is_listed(forebay, folder):
    code, out, err = forebay(*arguments(folder, "--out", folder / "out.csv"))
    assert code == 0, err
    assert "60 of 60 rows (100%)" in out
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert {row["answer"] for row in rows} <= {"billing", "login"}
    assert all(float(row["probability"]) > 0 for row in rows)
    code, out, _ = forebay("bulk", "list", "--json")
    (listed,) = json.loads(out)
    assert (listed["state"], listed["total"], listed["local"]) == ("done", 60, 60)
    assert listed["id"] in forebay("bulk", "list")[1]
    assert json.loads(forebay("bulk", "status", listed["id"], "--json")[1])["written"] == 60


def test_bad_rows_make_the_exit_code_1_and_are_named(forebay, folder):
    with (folder / "rows.jsonl").open("a") as file:
        file.write('{"body": 7}\n')
    code, out, err = forebay(*arguments(folder, "--out", folder / "out.jsonl"))
    assert code == 1
    assert f"1 bad row: see {folder / 'out.bad.jsonl'}" in err
    assert f"results: {folder / 'out.jsonl'}" in out
    assert "bulk retry" not in err


def test_a_bulk_is_named_by_its_id_or_by_its_output(forebay, folder, monkeypatch):
    monkeypatch.chdir(folder)
    _, out, _ = forebay(*arguments(folder, "--out", "out.jsonl"))
    bulk_id = out.partition("bulk ")[2].partition(":")[0]
    assert forebay("bulk", "status", "out.jsonl") == forebay("bulk", "status", bulk_id)
    code, _, err = forebay("bulk", "cancel", "nothing.jsonl")
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing.jsonl.bulk: holds no bulk: name one by its id or output" in err


def test_a_dry_run_says_how_many_bad_rows_it_does_not_print(forebay, folder):
    with (folder / "rows.jsonl").open("a") as file:
        file.write('{"body": 7}\n' * 25)
    code, out, _ = forebay(*arguments(folder, "--dry-run"))
    assert (code, out.count("column body: must be text")) == (1, 20)
    assert "and 5 more bad rows" in out
    found = json.loads(forebay(*arguments(folder, "--dry-run", "--json"))[1])["first_bad"]
    assert found[0] == {
        "file": str(folder / "rows.jsonl"), "row": 61, "line": 61, "column": "body",
        "reason": "must be text", "key": None,
    }  # fmt: skip


def _send_once(number):
    """Return a function that sends this process a signal the first time it is called."""
    left = [number]

    def send(*_):
        while left:
            os.kill(os.getpid(), left.pop())

    return send


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_the_session_detaches_as_ctrl_c_does(forebay, folder, monkeypatch, ends):
    with monkeypatch.context() as patch:
        patch.setattr(BulkHandle, "progress", _send_once(ends))
        code, _, err = forebay(*arguments(folder, "--out", folder / "out.jsonl"))
    assert (code, "detached: the rows that the fleet has go on" in err) == (130, True)
    assert forebay("bulk", "resume", folder / "out.jsonl")[0] == 0
    assert (folder / "out.jsonl").read_text().count("\n") == 60


def test_what_nohup_ignores_does_not_detach(forebay, folder, monkeypatch):
    known = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        send, progress = _send_once(signal.SIGHUP), BulkHandle.progress
        monkeypatch.setattr(BulkHandle, "progress", lambda bulk: send() or progress(bulk))
        code, out, err = forebay(*arguments(folder, "--out", folder / "out.jsonl"))
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, known)
    assert (code, "60 of 60 rows" in out, "detached" in err) == (0, True, False)


def test_ctrl_c_detaches_and_says_how_to_go_on(forebay, folder, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("forebay.producers.bulk.handle.BulkHandle.progress", interrupt)
        code, _, err = forebay(*arguments(folder, "--out", folder / "out.jsonl"))
    assert code == 130
    bulk_id = err.partition("forebay bulk resume ")[2].partition("`")[0]
    code, out, _ = forebay("bulk", "resume", bulk_id)
    assert (code, "60 of 60 rows" in out) == (0, True)
    assert (folder / "out.jsonl").read_text().count("\n") == 60


def test_a_run_may_be_resumed_by_its_output(forebay, folder):
    assert forebay(*arguments(folder, "--out", folder / "out.jsonl"))[0] == 0
    code, _, err = forebay(*arguments(folder, "--out", folder / "out.jsonl", "--resume"))
    assert (code, "the bulk is done" in err) == (2, True)
    code, _, err = forebay(*arguments(folder, "--out", folder / "out.jsonl"))
    assert (code, "--overwrite" in err) == (2, True)


def test_a_bulk_is_paused_and_cancelled_from_anywhere(forebay, folder, lanes):
    from forebay.routing.bulk.bulks import Bulks  # noqa: PLC0415 - as another process
    from forebay.routing.jobs import new_id  # noqa: PLC0415

    bulk_id = new_id("acme")
    Bulks(lanes.ledger).create(bulk_id, {}, None)
    assert json.loads(forebay("bulk", "pause", bulk_id, "--json")[1])["state"] == "paused"
    assert json.loads(forebay("bulk", "cancel", bulk_id, "--json")[1])["state"] == "cancelled"
    code, _, err = forebay("bulk", "pause", bulk_id)
    assert (code, "the bulk is cancelled" in err) == (2, True)


def test_labels_are_named_or_come_from_a_file(forebay, folder):
    asked = ("bulk", "run", folder / "rows.jsonl", *CLASSIFY, "--dry-run")
    named = ("--label", "billing", "--label", "login")
    assert forebay(*asked, *named)[:2] == (0, "60 valid rows, 0 bad rows\n")
    for wrong, says in (
        ((*named, "--labels", folder / "labels.txt"), "--labels: cannot be combined with --label"),
        (("--labels", "billing,login"), "--labels: there is no file billing,login; --label names"),
        (named[:2], "--labels: must have at least 2 items, not 1"),
    ):
        code, _, err = forebay(*asked, *wrong)
        assert code == 2
        assert says in err


def test_a_dry_run_names_bad_rows_and_a_sample_says_what_the_whole_takes(forebay, folder):
    code, out, _ = forebay(*arguments(folder, "--dry-run"))
    assert (code, out) == (0, "60 valid rows, 0 bad rows\n")
    code, out, _ = forebay(*arguments(folder, "--sample", "10"))
    assert code == 0
    assert "60 valid rows, 0 bad rows; 10 answered" in out
    assert "the whole: " in out
    with (folder / "rows.jsonl").open("a") as file:
        file.write('{"wrong": 1}\n')
    code, out, _ = forebay(*arguments(folder, "--dry-run"))
    assert (code, "line 61" in out) == (1, True)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--out"),
        (("--out", "x.xml"), "x.xml"),
        (("--out", "o.jsonl", "--kind", "dance"), "--kind: must be one of"),
        (("--out", "o.jsonl", "--order", "random"), "--order: must be input or any"),
        (("--out", "o.jsonl", "--max-usd", "inf"), "--max-usd: must be from 0 to 1,000,000"),
        (("--out", "o.jsonl", "--max-cost", "inf"), "--max-cost: must be from 0 to 1,000,000"),
        (("--out", "o.jsonl", "--by", "2020-01-01T00:00:00Z"), "--by: is past: no row could"),
        (("--out", "-"), "--out: must be a file: results cannot go to standard output"),
        (("--out", "/proc/nobody/o.jsonl"), "/proc/nobody/o.jsonl.bulk: cannot be written: "),
        (("--out", "o.jsonl", "--resume", "--overwrite"), "cannot be combined with --resume"),
        (("--sample", "0"), "--sample: must be at least 1"),
        (("--sample", "3", "--dry-run"), "--sample: cannot be combined with --dry-run"),
        (("--out", "o.jsonl", "--by", "sometime"), "--by: must be a time of day like 06:00, 30s"),
        (("--out", "o.jsonl", "--text-field", "bodi"), "--text-field: "),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(forebay, folder, monkeypatch, options, named):
    monkeypatch.chdir(folder)
    code, out, err = forebay(*arguments(folder, *options))
    assert (code, out) == (2, "")
    assert named in err
    assert err.count("\n") == 1


def test_a_deadline_is_held_against_the_rate_of_earlier_rows(forebay, folder):
    _, _, err = forebay(*arguments(folder, "--out", folder / "first.jsonl", "--by", "8h"))
    assert "no such rows were answered lately" in err
    _, _, err = forebay(*arguments(folder, "--out", folder / "second.jsonl", "--by", "8h"))
    assert "about 60 rows at " in err
    assert "the rate of echo in the pool default lately" in err
    assert "in time" in err


QUESTIONS = '[{"type": "predicate", "name": "late", "instructions": "Is it late?"}, "a [b|c]: q"]'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("questions.json", QUESTIONS),
        ("questions.json", f'{{"questions": {QUESTIONS}}}'),
        ("questions.txt", "late: Is it late?\n\na [b|c]: q\n"),
    ],
)
def test_questions_come_from_a_file_and_from_options(forebay, folder, name, text):
    (folder / name).write_text(text)
    out = folder / "out.jsonl"
    given = ["--kind", "decide", "--text-field", "body", "--questions", folder / name]
    more = ["--question", "mood [low<high]: How?", "--choice", "urgent?=yes,no", "--out", out]
    code, _, err = forebay("bulk", "run", folder / "rows.jsonl", *given, *more)
    assert code == 0, err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    names = [[each["name"] for each in row["answer"]["answers"]] for row in rows]
    assert names == [["late", "a", "mood", "urgent"]] * 60


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "--question: is needed: such as"),
        (("--choice", "urgent?"), "--choice: must be 'QUESTION=option,option'"),
        (("--choice", "=yes,no"), "--choice: must be 'QUESTION=option,option'"),
        (("--choice", "urgent?=yes"), "--choice: must have at least two options after ="),
        (("--choice", "urgent?=yes,,no"), "--choice: must have at least two options after ="),
        (("--choice", "a?=b,B"), "--question: number 1, choices: no two labels may have the same"),
        (("--choice", "a?=b,c", "--choice", "a=d,e"), "no two questions may have the same name"),
        (("--question", "no form"), "--question: must be 'NAME: a question'"),
        (("--questions", "empty.json"), "--questions empty.json: is empty"),
        (("--questions", "none.json"), "--questions none.json: must hold a JSON array"),
        (("--questions", "broken.json"), "--questions broken.json: is not JSON: "),
        (("--questions", "line.txt"), "--questions line.txt: must be 'NAME: a question'"),
        (("--questions", "missing.json"), "--questions missing.json: cannot be read"),
        (("--questions", "typo.json"), "--question: number 1, instruction"),
        (("--kind", "classify", "--choice", "a?=b,c"), "is an option of decide, not of classify"),
        (("--labels", "labels.txt", "--choice", "a?=b,c"), "--labels: is an option of classify"),
    ],
)
def test_a_wrong_question_is_one_line_that_names_its_option(
    forebay, folder, monkeypatch, args, message
):
    monkeypatch.chdir(folder)
    for name, text in (
        ("empty.json", ""), ("none.json", "[]"), ("broken.json", "[1,"), ("line.txt", "no form"),
        ("typo.json", '[{"type": "predicate", "name": "a", "instruction": "b"}]'),
    ):  # fmt: skip
        (folder / name).write_text(text)
    decide = () if "--kind" in args else ("--kind", "decide")
    text = ("--text-field", "body", "--out", "o.jsonl")
    code, out, err = forebay("bulk", "run", "rows.jsonl", *decide, *text, *args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
