"""The way through a rented GPU machine: what is run there, and what goes on after a failure."""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from forebay.workers.engines.gpu import probe
from forebay.workers.models import conversion
from local.fleet import ROOT

FIVE = ["fp16", "exl2", "torch", "build", "footprint"]


def program(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tests/gpu/{name}.py")
    return importlib.util.module_from_spec(spec), spec.loader


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """The program, and a machine that writes down what is run; what holds a word of `broken` fails.

    Nothing is installed, so that `install` does nothing.
    """
    monkeypatch.setenv("FOREBAY_GPU_HOME", str(tmp_path))
    made, loader = program("run")
    monkeypatch.setitem(sys.modules, "run", made)
    loader.exec_module(made)
    made.broken, made.ran = set(), []
    made.STAGES["install"] = lambda: None
    made.WHEELS.mkdir()
    (made.WHEELS / "flash_attn-2.8.3.tar.gz").touch()
    (made.BUILDS / "torch2.11-cu13.0-cp312/flash_attn").mkdir(parents=True)

    def run(argv, *, env, **_):
        line = " ".join(
            [*argv[1:], env.get("FOREBAY_MODEL_DIR", ""), env.get("FOREBAY_ATTENTION", "")]
        )
        made.ran.append(line)
        if "-cf" in argv and "converter writes nothing" not in made.broken:
            target = Path(argv[argv.index("-cf") + 1])
            target.mkdir(parents=True, exist_ok=True)
            (target / "config.json").touch()
        return subprocess.CompletedProcess(argv, int(any(one in line for one in made.broken)))

    monkeypatch.setattr(made.subprocess, "run", run)
    return made


def ended(made, monkeypatch, *words):
    """What the program said as it ended, or nothing where all went well."""
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    try:
        made.main()
    except SystemExit as end:
        return end.code
    return None


def test_the_machines_own_packages_stay_and_all_that_is_imported_later_is_tried(
    machine, monkeypatch
):
    names = ["celery-5.7.0-py3", "numpy-2.5.5-cp312", "pillow-13.0.0-cp312", "rich-15.0.0-py3"]
    (machine.WHEELS / "flash_attn-2.8.3.tar.gz").unlink()
    archive = machine.HOME / "all.tar"
    with tarfile.open(archive, "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(f"{name}-none-any.whl"))
    for at, half in enumerate((archive.read_bytes()[:700], archive.read_bytes()[700:])):
        part = machine.HOME / f"0{at}.part"
        part.write_bytes(half)
        machine.receive(str(part))
    has = {"numpy": "2.4", "rich": "13.0"}

    def version(name):
        if name not in has:
            raise importlib.metadata.PackageNotFoundError
        return has[name]

    monkeypatch.setattr(machine.importlib.metadata, "version", version)
    machine.install()
    pip, tried = machine.ran
    assert [name for name in names if name in pip] == [names[0], names[2], names[3]]
    assert {*probe.NEEDS, *conversion._READERS} <= set(re.findall(r"\w+", tried))


def test_what_a_fleet_with_a_gpu_needs_is_brought_along():
    wheels, loader = program("wheels")
    loader.exec_module(wheels)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needs = {name_of(one) for one in project["dependencies"]}
    needs |= {name_of(one) for extra in ("embedded", "gpu", "secrets") for one in extras[extra]}
    needs |= set(re.findall(r'= real\("(\w+)"', (ROOT / "tests/support/theirs.py").read_text()))
    brought = {name_of(one) for one in (*wheels.WHOLE, *wheels.ALONE)}
    assert needs - {"numpy"} <= brought  # which others of these bring


def name_of(requirement):
    return re.match(r"[\w-]+", requirement)[0].lower()


def test_all_stages_go_through(machine, monkeypatch):
    assert ended(machine, monkeypatch) is None
    programs = ["build", "check", "smollm2.py", "converter", "8b 6", "14b 4"]
    tests = ["test_on_gpu"] * 3 + ["gpu/test_build", "test_footprint"]
    wanted = [*programs, *tests, "smollm2-exl2", "random-8b-6bit", "random-14b-4bit"]
    assert len(machine.ran) == len(wanted)
    assert all(one in line for one, line in zip(wanted, machine.ran, strict=True))


def test_a_failure_does_not_hide_the_rest_and_is_told_at_the_end(machine, monkeypatch):
    machine.broken = {"smollm2-fp16 flash-attn", "benchmarks/gpu.py"}
    said = ended(machine, monkeypatch)
    assert said == "failed: suite fp16, bench smollm2, bench 8b, bench 14b"
    assert len([line for line in machine.ran if "-m pytest" in line]) == 5
    assert len([line for line in machine.ran if "benchmarks/gpu.py" in line]) == 3


def test_nothing_is_tried_on_a_machine_where_nothing_can_be_built(machine, monkeypatch):
    machine.broken = {" build "}
    assert ended(machine, monkeypatch) == 1
    assert len(machine.ran) == 2


def test_without_flash_attn_all_is_tried_that_can_do_without(machine, monkeypatch, capsys):
    shutil.rmtree(machine.BUILDS)
    log = machine.BUILDS / ".torch2.11-cu13.0-cp312.work/flash_attn_2_cuda.log"
    log.parent.mkdir(parents=True)
    log.write_text("error: no such kernel\n")
    machine.broken = {"--flash-attn-sdist"}
    missing = [f"suite {name}, for want of flash-attn" for name in ("fp16", "exl2")]
    assert ended(machine, monkeypatch) == f"failed: build, {', '.join(missing)}"
    assert "no such kernel" in capsys.readouterr().out
    _, without, check, _, converter, *rest = machine.ran
    assert "--without-flash-attn" in without
    assert check.endswith("torch")
    assert "--fallback" in converter
    suites = [line for line in rest if "-m pytest" in line]
    assert len(suites) == 3
    assert all("--attention torch" in line for line in rest if "benchmarks" in line)


def test_pieces_are_asked_for_by_name(machine, monkeypatch):
    assert ended(machine, monkeypatch, "suite", "torch", "build") is None
    assert [("torch" in line, "gpu/test_build" in line) for line in machine.ran] == [
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
    machine.broken = {"converter writes nothing"}  # and ends with 0, as it may
    assert ended(machine, monkeypatch, "model") == "failed: model exl2"
    assert left.exists()
