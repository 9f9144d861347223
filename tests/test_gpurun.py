"""The way through a rented GPU machine: what is run there, and what goes on after a failure."""

import importlib.util
import subprocess
import sys

import pytest

from fleet import ROOT

FIVE = ["fp16", "exl2", "torch", "build", "footprint"]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """The program, and a machine that writes down what is run; what holds a word of `broken` fails.

    Nothing is installed, so that `install` does nothing.
    """
    monkeypatch.setenv("FOREBAY_GPU_HOME", str(tmp_path))
    spec = importlib.util.spec_from_file_location("gpurun", ROOT / "tests/gpu/run.py")
    program = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpurun", program)
    spec.loader.exec_module(program)
    program.broken, program.ran = set(), []
    program.STAGES["install"] = lambda: None
    program.WHEELS.mkdir()
    (program.WHEELS / "flash_attn-2.8.3.tar.gz").touch()

    def run(argv, *, env, **_):
        line = " ".join(
            [*argv[1:], env.get("FOREBAY_MODEL_DIR", ""), env.get("FOREBAY_ATTENTION", "")]
        )
        program.ran.append(line)
        return subprocess.CompletedProcess(argv, int(any(one in line for one in program.broken)))

    monkeypatch.setattr(program.subprocess, "run", run)
    return program


def ended(program, monkeypatch, *words):
    """What the program said as it ended, or nothing where all went well."""
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    try:
        program.main()
    except SystemExit as end:
        return end.code
    return None


def test_all_stages_go_through(machine, monkeypatch):
    assert ended(machine, monkeypatch) is None
    programs = ["build", "check", "smollm2.py", "converter", "8b 6", "14b 4"]
    tests = ["test_on_gpu"] * 3 + ["test_gpubuild", "test_footprint"]
    wanted = [*programs, *tests, "smollm2-exl2", "random-8b-6bit", "random-14b-4bit"]
    assert len(machine.ran) == len(wanted)
    assert all(one in line for one, line in zip(wanted, machine.ran, strict=True))


def test_a_failure_does_not_hide_the_rest_and_is_told_at_the_end(machine, monkeypatch):
    machine.broken = {"smollm2-fp16 flash-attn", "benchmarks/gpu.py"}
    said = ended(machine, monkeypatch)
    assert said == "failed: suite fp16, bench smollm2, bench 8b, bench 14b"
    assert len([line for line in machine.ran if "-m pytest" in line]) == 5
    assert len([line for line in machine.ran if "benchmarks/gpu.py" in line]) == 3


def test_nothing_is_tried_on_a_machine_where_the_build_failed(machine, monkeypatch):
    machine.broken = {"--flash-attn-sdist"}
    assert ended(machine, monkeypatch) == 1
    assert len(machine.ran) == 1


def test_pieces_are_asked_for_by_name(machine, monkeypatch):
    assert ended(machine, monkeypatch, "suite", "torch", "build") is None
    assert [("torch" in line, "gpubuild" in line) for line in machine.ran] == [
        (True, False), (False, True),
    ]  # fmt: skip
    assert ended(machine, monkeypatch, "bench", "8b") is None
    assert machine.ran[-1].split()[-1].endswith("random-8b-6bit")
    said = ended(machine, monkeypatch, "suite", "fp8")
    assert said == f"no such piece: fp8; there are {', '.join(FIVE)}"


def test_a_conversion_that_broke_off_goes_on_where_it_was(machine, monkeypatch):
    left = machine.HOME / "conversion/job_new.json"
    left.parent.mkdir()
    left.touch()
    machine.broken = {"converter"}
    assert ended(machine, monkeypatch, "model") == "failed: model exl2"
    assert left.exists()
