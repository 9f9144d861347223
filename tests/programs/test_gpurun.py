"""The program that tests a rented GPU machine: what it runs, and how it goes on after a failure."""

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
    """Return the program on a machine that records commands instead of running them.

    A command whose line has a word of `broken` fails. The stage `install` does nothing.
    """
    monkeypatch.setenv("FOREBAY_GPU_HOME", str(tmp_path))
    run_module, loader = program("run")
    monkeypatch.setitem(sys.modules, "run", run_module)
    loader.exec_module(run_module)
    run_module.broken, run_module.ran = set(), []
    run_module.STAGES["install"] = lambda: None
    run_module.WHEELS.mkdir()
    (run_module.WHEELS / "flash_attn-2.8.3.tar.gz").touch()
    (run_module.BUILDS / "torch2.11-cu13.0-cp312/flash_attn").mkdir(parents=True)

    def run(argv, *, env, **_):
        line = " ".join(
            [*argv[1:], env.get("FOREBAY_MODEL_DIR", ""), env.get("FOREBAY_ATTENTION", "")]
        )
        run_module.ran.append(line)
        if "-cf" in argv and "converter writes nothing" not in run_module.broken:
            target = Path(argv[argv.index("-cf") + 1])
            target.mkdir(parents=True, exist_ok=True)
            (target / "config.json").touch()
        return subprocess.CompletedProcess(
            argv, int(any(word in line for word in run_module.broken))
        )

    monkeypatch.setattr(run_module.subprocess, "run", run)
    return run_module


def ended(run_module, monkeypatch, *words):
    """Run the program; return its exit code or last message, `None` if everything succeeded."""
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    try:
        run_module.main()
    except SystemExit as end:
        return end.code
    return None


def test_install_keeps_the_machines_packages_and_tries_every_import(machine, monkeypatch):
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


def test_the_archive_has_every_package_that_a_fleet_with_a_gpu_needs():
    wheels, loader = program("wheels")
    loader.exec_module(wheels)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needs = set(map(name_of, project["dependencies"]))
    for extra in ("embedded", "gpu", "secrets"):
        needs |= set(map(name_of, extras[extra]))
    needs |= set(
        re.findall(r'= real\("(\w+)"', (ROOT / "tests/support/library_sources.py").read_text())
    )
    archived = set(map(name_of, (*wheels.WITH_DEPENDENCIES, *wheels.WITHOUT_DEPENDENCIES)))
    assert needs - {"numpy"} <= archived  # other packages bring numpy


def name_of(requirement):
    return re.match(r"[\w-]+", requirement)[0].lower()


def test_every_file_that_is_run_exists(machine, monkeypatch):
    assert ended(machine, monkeypatch) is None
    files = {word for line in machine.ran for word in line.split() if word.endswith(".py")}
    assert len(files) == 8
    assert [file for file in files if not (ROOT / file).is_file()] == []
    modules = {line.split()[1] for line in machine.ran if line.startswith("-m ")} - {"pytest"}
    assert modules == {"forebay.workers.engines.gpu.converter"}
    assert all(importlib.util.find_spec(name) for name in modules)


def test_all_stages_run_in_order(machine, monkeypatch):
    assert ended(machine, monkeypatch) is None
    programs = ["build", "check", "smollm2.py", "converter", "8b 6", "14b 4"]
    tests = ["test_on_gpu"] * 3 + ["test_build", "test_footprint"]
    wanted = [*programs, *tests, "smollm2-exl2", "random-8b-6bit", "random-14b-4bit"]
    assert len(machine.ran) == len(wanted)
    assert all(word in line for word, line in zip(wanted, machine.ran, strict=True))


def test_the_other_stages_run_after_a_failure_which_is_reported_at_the_end(machine, monkeypatch):
    machine.broken = {"smollm2-fp16 flash-attn", "benchmarks/gpu.py"}
    message = ended(machine, monkeypatch)
    assert message == "failed: suite fp16, bench smollm2, bench 8b, bench 14b"
    assert len([line for line in machine.ran if "-m pytest" in line]) == 5
    assert len([line for line in machine.ran if "benchmarks/gpu.py" in line]) == 3


def test_nothing_more_is_tried_if_nothing_can_be_built(machine, monkeypatch):
    machine.broken = {" build "}
    assert ended(machine, monkeypatch) == 1
    assert len(machine.ran) == 2


def test_without_flash_attn_everything_that_does_not_need_it_is_tried(machine, monkeypatch, capsys):
    shutil.rmtree(machine.BUILDS)
    log = machine.BUILDS / ".torch2.11-cu13.0-cp312.work/flash_attn_2_cuda.log"
    log.parent.mkdir(parents=True)
    log.write_text("error: no such kernel\n")
    machine.broken = {"--flash-attn-sdist"}
    missing = [f"suite {name}, without flash-attn" for name in ("fp16", "exl2")]
    assert ended(machine, monkeypatch) == f"failed: build, {', '.join(missing)}"
    assert "no such kernel" in capsys.readouterr().out
    _, without, check, _, converter, *rest = machine.ran
    assert "--without-flash-attn" in without
    assert check.endswith("torch")
    assert "--fallback" in converter
    suites = [line for line in rest if "-m pytest" in line]
    assert len(suites) == 3
    assert all("--attention torch" in line for line in rest if "benchmarks" in line)


def test_single_pieces_of_a_stage_can_be_named(machine, monkeypatch):
    assert ended(machine, monkeypatch, "suite", "torch", "build") is None
    assert [("test_on_gpu" in line, "test_build" in line) for line in machine.ran] == [
        (True, False), (False, True),
    ]  # fmt: skip
    assert ended(machine, monkeypatch, "bench", "8b") is None
    assert machine.ran[-1].split()[-1].endswith("random-8b-6bit")
    message = ended(machine, monkeypatch, "suite", "fp8")
    assert message == f"no such piece: fp8; there are {', '.join(FIVE)}"


def test_an_interrupted_conversion_is_resumed(machine, monkeypatch):
    left = machine.HOME / "conversion/job_new.json"
    left.parent.mkdir()
    left.touch()
    machine.broken = {"converter writes nothing"}  # and ends with 0, as it may
    assert ended(machine, monkeypatch, "model") == "failed: model exl2"
    assert left.exists()
