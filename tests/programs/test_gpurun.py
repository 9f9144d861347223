"""The program that tests a rented GPU machine: what it runs, and how it goes on after a failure."""

import ast
import hashlib
import importlib.util
import random
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from forebay.workers.engines.gpu import probe
from forebay.workers.models import conversion
from local.fleet import ROOT

FIVE = ["fp16", "exl2", "torch", "build", "footprint"]


@pytest.fixture
def home(monkeypatch, tmp_path):
    """Return the folder of a GPU machine, whose programs can be imported while the test runs."""
    monkeypatch.setenv("FOREBAY_GPU_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "tests/gpu"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (ROOT / f"tests/gpu/{name}.py").exists():
            del sys.modules[name]


@pytest.fixture
def machine(monkeypatch, home):
    """Return the program on a machine that records commands instead of running them.

    A command whose line has a word of `broken` fails. The stage `install` does nothing.
    """
    run_module = importlib.import_module("run")
    monkeypatch.setattr(run_module.machine, "CARRIED", home)
    run_module.broken, run_module.ran = set(), []
    run_module.STAGES["install"] = lambda: None
    run_module.SOURCES.mkdir()
    (run_module.SOURCES / "flash_attn-2.8.3.tar.gz").touch()
    monkeypatch.setattr(run_module.machine, "torch", lambda: ("2.11.0+cu130", "13.0"))
    (run_module.machine.built() / "flash_attn").mkdir(parents=True)

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

    monkeypatch.setattr(subprocess, "run", run)
    return run_module


def ended(run_module, monkeypatch, *words):
    """Run the program; return its exit code or last message, `None` if everything succeeded."""
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    try:
        run_module.main()
    except SystemExit as end:
        return end.code
    return None


def test_install_unpacks_the_parts_and_tries_every_import(machine, tmp_path, monkeypatch):
    import archives  # noqa: PLC0415 - on the path now

    monkeypatch.setattr(archives, "MAX_PART_BYTES", 700)
    (tmp_path / "made").mkdir()
    noise = random.Random(7).randbytes(1500)
    (tmp_path / "file").write_bytes(noise)
    for name in archives.NAMES:
        files = [(tmp_path / "file", f"site/{name}.py")]
        parts = archives.pack(name, files, tmp_path / "made", compress=name == "kernels")
        assert len(parts) > 1
        assert all(part.stat().st_size <= 700 for part in parts)
        for part in parts:
            machine.receive(str(part))
    machine.install()
    for name in archives.NAMES:
        assert (machine.HOME / f"site/{name}.py").read_bytes() == noise
    (tried,) = machine.ran
    assert {*probe.NEEDS, *conversion._READERS} <= set(re.findall(r"\w+", tried))


def test_a_missing_part_is_named_and_the_other_archives_are_unpacked(home, monkeypatch):
    import archives  # noqa: PLC0415 - on the path now

    parts = home / "parts"
    parts.mkdir()
    (home / "file").write_text("x = 1\n")
    archives.pack("kernels", [(home / "file", "site/a.py")], parts, compress=True)
    (parts / "models-2of3.part").write_bytes(b"")
    wrong = archives.unpack([parts, home / "none"], home)
    assert wrong == {
        "models": "missing: models-1of3.part, models-3of3.part",
        "encoder": "missing: encoder-1of1.part",
    }
    assert (home / "site/a.py").exists()
    (home / "site/a.py").unlink()
    archives.unpack([parts], home)
    assert not (home / "site/a.py").exists()  # the same parts are not unpacked again
    (parts / "exl3-2of2.part").touch()  # of an archive that need not be there at all
    assert archives.unpack([parts], home)["exl3"] == "missing: exl3-1of2.part"
    older = home / "models-1of2.part"
    older.write_bytes(hashlib.sha256(b"").digest())
    archives.receive(older, parts)
    assert not (parts / "models-2of3.part").exists()
    with pytest.raises(SystemExit, match=r"a part is called NAME-1of2\.part"):
        archives.receive(home / "file", parts)


def test_the_archives_have_every_package_that_a_fleet_with_a_gpu_needs(home):
    wheels = importlib.import_module("wheels")
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


def test_the_fixtures_of_all_tests_import_what_a_gpu_machine_has(home):
    wheels = importlib.import_module("wheels")
    archived = set(map(name_of, wheels.WITH_DEPENDENCIES))
    tree = ast.parse((ROOT / "tests/conftest.py").read_text())
    imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    imported |= {
        each.name for node in tree.body if isinstance(node, ast.Import) for each in node.names
    }
    roots = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    # A worker imports of forebay what fixtures do: the ledger and the policy.
    ours = {"forebay", "local", *(file.stem for file in (ROOT / "tests/support").glob("*.py"))}
    assert roots - ours <= archived
    hooks = [node for node in tree.body if getattr(node, "name", "").startswith("pytest_xdist")]
    assert all("optionalhook=True" in ast.unparse(hook.decorator_list[0]) for hook in hooks)


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


def test_kernels_that_were_brought_are_only_checked(machine):
    shutil.rmtree(machine.SOURCES)
    (machine.machine.built() / "built.json").touch()
    machine.build()
    assert [line.split()[-2] for line in machine.ran] == ["check"]


def test_for_another_torch_exllamav2_is_compiled_on_the_machine(machine, monkeypatch, capsys):
    shutil.rmtree(machine.SOURCES)
    (machine.machine.built() / "built.json").touch()
    monkeypatch.setattr(machine.machine, "torch", lambda: ("2.12.1+cu132", "13.2"))
    machine.build()
    assert "no kernels for torch2.12-cu13.2-cp3" in capsys.readouterr().out
    built, check = machine.ran
    assert built.endswith("build --without-flash-attn  ")
    assert check.endswith("check  torch")


def test_the_version_of_torch_is_read_without_importing_it(machine, monkeypatch, tmp_path):
    monkeypatch.undo()
    versions = "__version__ = '2.10.1+cu128'\ncuda = '12.8'\n"
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "torch/version.py").write_text(versions)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert machine.machine.torch() == ("2.10.1+cu128", "12.8")


@pytest.mark.parametrize("change", [lambda part: part[:-1], lambda part: b"x" + part[1:]])
def test_a_part_that_is_damaged_on_its_way_is_named(machine, tmp_path, monkeypatch, change):
    import archives  # noqa: PLC0415 - on the path now

    (tmp_path / "file").write_bytes(b"x = 1\n")
    made = tmp_path / "made"
    made.mkdir()
    (part,) = archives.pack("kernels", [(tmp_path / "file", "site/a.py")], made, compress=True)
    part.write_bytes(change(part.read_bytes()))
    assert "kernels-1of1.part is damaged; copy it again" in ended(
        machine, monkeypatch, "receive", str(part)
    )
    wrong = archives.unpack([made], tmp_path)
    assert wrong["kernels"] == "cannot be unpacked: kernels-1of1.part is damaged; copy it again"


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


def test_exllamav3_has_an_archive_of_its_own_if_it_is_compiled(home, monkeypatch, tmp_path):
    monkeypatch.setenv("GPU_WHEELS", str(tmp_path))
    wheels, archives = (importlib.import_module(name) for name in ("wheels", "archives"))
    built = tmp_path / "builds/torch2.11-cu13.0-cp312"
    for file in ("exllamav2_ext.so", "built.json"):
        write(built / file)
    for file in ("exllamav2/ext.py", "exllamav3/ext.py", "exllamav3-1.dist-info/METADATA"):
        write(tmp_path / "site" / file)
    for compiled, names in ((False, {"kernels"}), (True, {"kernels", "exl3"})):
        if compiled:
            write(built / "exllamav3_ext.so")
        parts = wheels.pack_kernels(tmp_path / "site", tmp_path / "wheels", built)
        assert {part.name.partition("-")[0] for part in parts} == names
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    (tmp_path / "parts/exl3-1of1.part").rename(tmp_path / "later.part")
    archives.unpack([tmp_path / "parts"], unpacked)
    assert not list(unpacked.rglob("exllamav3*"))
    (tmp_path / "later.part").rename(tmp_path / "parts/exl3-1of1.part")
    archives.unpack([tmp_path / "parts"], unpacked)
    assert {each.name for each in unpacked.rglob("exllamav3*")} == {
        "exllamav3", "exllamav3-1.dist-info", "exllamav3_ext.so",
    }  # fmt: skip


def write(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")


def test_no_transfer_is_larger_than_allowed_and_the_order_is_that_of_worth(home, tmp_path):
    rehearsal = importlib.import_module("rehearsal")
    sizes = {
        "encoder-1of1": 33, "exl3-1of1": 24, "models-2of2": 47, "models-1of2": 47,
        "kernels-1of1": 19,
    }  # fmt: skip
    parts = [tmp_path / f"{name}.part" for name in sizes]
    for part, size in zip(parts, sizes.values(), strict=True):
        with part.open("wb") as file:
            file.truncate(size << 20)
    batches = rehearsal.transfers(sorted(parts, key=rehearsal.order), 9 << 20)
    assert [[part.stem for part in batch] for batch in batches] == [
        ["kernels-1of1", "exl3-1of1"], ["models-1of2"], ["models-2of2"], ["encoder-1of1"],
    ]  # fmt: skip
    with pytest.raises(SystemExit, match=r"models-1of2\.part and the repository are more than 64"):
        rehearsal.transfers(parts[3:4], 20 << 20)
