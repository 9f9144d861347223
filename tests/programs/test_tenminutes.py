"""The run of some minutes on a GPU: its order, its limits, and what it writes when."""

import importlib
import os
import subprocess
import sys
import time

import pytest

from local.fleet import ROOT
from patience import until

SLEEPS = "import time; print('begun', flush=True); time.sleep(60)"


@pytest.fixture
def programs(monkeypatch, tmp_path):
    """Return the runner and its pieces; both read FOREBAY_GPU_HOME when they are imported."""
    monkeypatch.setenv("FOREBAY_GPU_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(ROOT / "tests/gpu"))
    before = set(sys.modules)
    runner = importlib.import_module("ten_minutes")
    monkeypatch.setattr(runner.machine, "CARRIED", tmp_path)
    monkeypatch.setattr(runner.machine, "torch", lambda: ("2.11.0+cu130", "13.0"))
    monkeypatch.setattr(runner, "_GRACE_S", 0.5)
    monkeypatch.setattr(runner, "_LEAST_S", 0.0)
    # They would change pytest's own process, and kill what other tests have started in it.
    for name in ("adopt_orphans", "kill_descendants"):
        monkeypatch.setattr(runner, name, lambda: None)
    yield runner, importlib.import_module("pieces")
    for name in set(sys.modules) - before:
        if (ROOT / f"tests/gpu/{name}.py").exists():
            del sys.modules[name]


def piece(programs, name, code, **changes):
    _, pieces = programs
    fields = {"title": f"about {name}", "limit_s": 20, "argv": [sys.executable, "-c", code]}
    return pieces.Piece(name, **{**fields, **changes})


def ran(programs, tmp_path, monkeypatch, pieces, *words):
    """Run pieces; return the exit code and the file of results after each of them."""
    runner, _ = programs
    out, seen = tmp_path / "out", []
    monkeypatch.setattr(runner, "prepared", lambda *_: pieces)
    attempted = runner.attempted

    def looked_at(piece, results):
        seen.append((out / "results.md").read_text())
        return attempted(piece, results)

    monkeypatch.setattr(runner, "attempted", looked_at)
    code = runner.main(["--out", str(out), *words])
    return code, [*seen, (out / "results.md").read_text()]


def rows(text):
    """Return the word for how each piece went, by the piece's name."""
    cells = [line.split("|") for line in text.splitlines() if line.startswith("| about")]
    return {row[1].split("`")[1]: row[2].strip() for row in cells}


def test_each_piece_is_on_disk_before_the_next_and_a_failure_stops_only_what_needs_it(
    programs, tmp_path, monkeypatch
):
    pieces = [
        piece(programs, "first", "print('found 42')"),
        piece(programs, "broken", "raise SystemExit('no such kernel')"),
        piece(programs, "after", "print('x')", needs=("first", "broken")),
        piece(programs, "there", "print('y')", needs=("first",)),
        piece(programs, "gone", "print('z')", absent="nothing is here"),
    ]
    code, seen = ran(programs, tmp_path, monkeypatch, pieces)
    assert code == 1
    assert [len(rows(text)) for text in seen] == [0, 1, 2, 3, 4, 5]
    assert rows(seen[-1]) == {
        "first": "ok", "broken": "failed", "after": "left out: needs broken", "there": "ok",
        "gone": "left out: nothing is here",
    }  # fmt: skip
    assert "found 42" in seen[1]
    assert "no such kernel" in seen[2]
    assert "found 42" in (tmp_path / "out/log.txt").read_text()


def test_a_piece_ends_at_its_limit_and_what_it_printed_is_kept(programs, tmp_path, monkeypatch):
    slow = piece(programs, "slow", "", argv=["sh", "-c", "echo begun; exec sleep 60"], limit_s=2)
    began = time.monotonic()
    code, seen = ran(programs, tmp_path, monkeypatch, [slow, piece(programs, "next", "print(1)")])
    assert time.monotonic() - began < 50
    assert code == 1
    assert rows(seen[-1]) == {"slow": "over time", "next": "ok"}
    assert "begun" in seen[-1]


def test_no_piece_begins_without_time_for_it(programs, tmp_path, monkeypatch):
    runner, _ = programs
    monkeypatch.setattr(runner.Results, "left_s", lambda results: 60 - 59 * len(results.outcomes))
    pieces = [piece(programs, "one", "print(1)"), piece(programs, "two", "print(1)")]
    _, seen = ran(programs, tmp_path, monkeypatch, pieces)
    assert rows(seen[-1]) == {"one": "ok", "two": "not reached"}


def test_single_pieces_can_be_run_again(programs, tmp_path, monkeypatch):
    pieces = [
        piece(programs, "one", "print(1)"),
        piece(programs, "two", "print(2)", needs=("one",)),
    ]
    code, seen = ran(programs, tmp_path, monkeypatch, pieces, "two")
    assert code == 0
    assert rows(seen[-1]) == {"two": "ok"}
    with pytest.raises(SystemExit, match="no such piece: three; there are one, two"):
        ran(programs, tmp_path, monkeypatch, pieces, "three")


def test_a_model_is_made_once_and_an_empty_folder_is_a_failure(programs, tmp_path, monkeypatch):
    made = tmp_path / "model"
    writes = (
        f"import pathlib; p = pathlib.Path({str(made)!r}); p.mkdir(); (p / 'config.json').touch()"
    )
    pieces = [
        piece(programs, "empty", "print(1)", made=made),
        piece(programs, "model", writes, made=made),
    ]
    _, seen = ran(programs, tmp_path, monkeypatch, pieces)
    assert rows(seen[-1]) == {"empty": "failed", "model": "ok"}
    _, seen = ran(programs, tmp_path, monkeypatch, pieces)  # mkdir would fail
    assert rows(seen[-1]) == {"empty": "ok", "model": "ok"}


def test_a_section_of_results_is_taken_as_it_is(programs, tmp_path, monkeypatch):
    section = tmp_path / "part.md"
    code = f"import pathlib; pathlib.Path({str(section)!r}).write_text('## Found\\n\\n| 7 |\\n')"
    pieces = [piece(programs, "bench", code + "; print('noise')", section=section)]
    _, seen = ran(programs, tmp_path, monkeypatch, pieces)
    assert "## Found\n\n| 7 |\n" in seen[-1]
    assert "noise" not in seen[-1]


def test_processes_that_a_piece_leaves_behind_are_found(programs):
    runner, _ = programs
    shell = [
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPS!r}])",
    ]
    with subprocess.Popen(shell, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"begun\n"
        until(lambda: len(list(runner.descendants(parent.pid))) == 1, 10)
        (child,) = runner.descendants(parent.pid)
        assert {parent.pid, child} <= set(runner.descendants(os.getpid()))
        os.kill(child, 9)


def test_without_flash_attn_the_pieces_use_the_attention_written_in_torch(
    programs, tmp_path, monkeypatch
):
    runner, _ = programs
    built = runner.machine.built() / "flash_attn"
    built.mkdir(parents=True)
    (built.parent / "built.json").touch()
    works = {"torch"}

    def check(by):
        return piece(programs, f"check-{by}", f"raise SystemExit({by not in works:d})")

    def pieces_of(*words):
        given = runner.arguments(["--out", str(tmp_path / "out"), *words])
        results = runner.Results(given.out, 60)
        pieces = {piece.name: piece for piece in runner.prepared(given, results)}
        return pieces, rows(results._text())

    monkeypatch.setattr(runner, "check", check)
    pieces, went = pieces_of()
    assert went == {"check-flash-attn": "failed", "check-torch": "ok"}
    assert pieces["answers"].env["FOREBAY_ATTENTION"] == "torch"
    assert pieces["model"].needs == ("check-torch",)
    works.add("flash-attn")
    pieces, went = pieces_of()
    assert went == {"check-flash-attn": "ok"}
    assert pieces["answers"].env["FOREBAY_ATTENTION"] == "flash-attn"
    assert pieces_of("answers")[1] == {}


def test_kernels_for_another_torch_are_named_and_compiled(programs, tmp_path, monkeypatch):
    runner, module = programs
    runner.prebuilt.write_manifest(made(runner.machine.built()), ["9.0"], {"exllamav2": "0.3.2"})
    assert module.build().absent == "they were brought"
    assert "-cu13.0-cp3" in runner.kernels()
    assert "exllamav2 0.3.2; for 9.0" in runner.kernels()
    assert "needs" not in runner.kernels()
    monkeypatch.setattr(runner.machine, "torch", lambda: ("2.12.0+cu132", "13.2"))
    assert module.build().absent == ""
    assert runner.attention() == "torch"
    assert "this machine needs torch2.12-cu13.2-cp3" in runner.kernels()


def made(folder):
    folder.mkdir(parents=True)
    return folder


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_tried(programs, tmp_path):
    runner, _ = programs
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"file/out: Not a directory; set --out"):
        runner.Results(tmp_path / "file/out", 60)


def test_an_nvidia_smi_that_hangs_costs_no_results(programs, monkeypatch):
    runner, _ = programs

    def hangs(argv, *, timeout, **_):
        raise subprocess.TimeoutExpired(argv, timeout)

    monkeypatch.setattr(runner.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(runner.subprocess, "run", hangs)
    assert "does not answer" in runner.card()


@pytest.mark.parametrize("which", ["on_the_card", "rehearsed"])
def test_every_piece_names_files_and_pieces_that_exist(programs, tmp_path, which):
    _, module = programs
    pieces = (
        module.on_the_card(tmp_path, "torch")
        if which == "on_the_card"
        else module.rehearsed(tmp_path)
    )
    names = [piece.name for piece in pieces]
    assert len(names) == len(set(names))
    for at, each in enumerate(pieces):
        assert set(each.needs) <= {*names[:at], "check-torch"}
        files = [word for word in map(str, each.argv) if word.endswith(".py")]
        assert all((ROOT / file).is_file() for file in files)
