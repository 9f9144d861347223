"""The compiling of kernels for a GPU machine: its settings, its environment, and what is kept."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from local.fleet import ROOT


@pytest.fixture
def kernels(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests/gpu"))
    for name in ("PYTHON_OF_GPU", "TORCH_OF_GPU", "CUDA_OF_GPU", "ARCHS_OF_GPU", "JOBS"):
        monkeypatch.delenv(name, raising=False)
    yield importlib.import_module("kernels")
    del sys.modules["kernels"]


@pytest.fixture
def ran(kernels, monkeypatch):
    """Return the commands that would be run; each succeeds, and a build has made one module."""
    commands = []

    def run(argv, **given):
        argv = [str(word) for word in argv]
        commands.append(argv)
        if "venv" in argv:
            libraries = Path(argv[-1]) / "lib/python3.12/site-packages/nvidia/cu13/lib"
            libraries.mkdir(parents=True, exist_ok=True)
            (libraries / "libcudart.so.13").touch()
        if "build" in argv:
            place = Path(given["env"]["FOREBAY_GPU"]) / "torch2.11"
            place.mkdir(parents=True, exist_ok=True)
            (place / "exllamav2_ext.so").touch()
            return subprocess.CompletedProcess(argv, 0, f"noise\n{place}\n")
        return subprocess.CompletedProcess(argv, 0, "3.12\n")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_settings_describe_the_machine(kernels, monkeypatch):
    assert kernels.Target.of_environment() == kernels.Target("3.12", "2.11.0", "13.0", ("9.0",))
    monkeypatch.setenv("ARCHS_OF_GPU", "sm_86 8.9,sm_120")
    monkeypatch.setenv("PYTHON_OF_GPU", "3.13")
    target = kernels.Target.of_environment()
    assert target.architectures == ("8.6", "8.9", "12.0")
    assert target.python == "3.13"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PYTHON_OF_GPU", "3", "PYTHON_OF_GPU: 3 is not a version such as 3.12"),
        ("TORCH_OF_GPU", "latest", "TORCH_OF_GPU: latest is not a version such as 2.11.0"),
        ("CUDA_OF_GPU", "12.8", "CUDA_OF_GPU: 12.8 has no wheels of nvcc; 13.0 is the oldest"),
        ("ARCHS_OF_GPU", "hopper", "ARCHS_OF_GPU: hopper is not a compute capability such as 8.9"),
    ],
)
def test_a_wrong_setting_is_named(kernels, monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        kernels.Target.of_environment()
    assert str(caught.value).startswith(says)


def test_every_part_of_the_compiler_has_its_version(kernels):
    """nvcc's own wheel accepts newer parts, whose code its assembler does not know."""
    parts = [each for each in kernels.Target().requirements if each.startswith("nvidia-")]
    assert {"nvidia-nvvm==13.0.*", "nvidia-cuda-crt==13.0.*"} < set(parts)
    assert all(each.endswith("==13.0.*") for each in parts)


def test_a_build_yields_to_others_and_its_environment_is_made_once(kernels, ran, tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/flash_attn-2.8.3.tar.gz").touch()
    target = kernels.Target(architectures=("8.6", "9.0"))
    wheels = [tmp_path / "wheels/numpy-2.5.5.whl", tmp_path / "wheels/exllamav2-0.3.2.whl"]
    place = kernels.build(target, tmp_path, wheels, tmp_path / "site", exl3="yes")
    assert place == tmp_path / "builds/torch2.11"
    (compiled,) = [argv for argv in ran if "build" in argv]
    assert compiled[:3] == ["nice", "-n", "19"]
    assert "--exllamav3" in compiled
    assert compiled[-4:] == ["--arch", "8.6", "--arch", "9.0"]
    toolkit = next(tmp_path.glob("machine-*/lib/python3.12/site-packages/nvidia/cu13"))
    assert (toolkit / "lib64/libcudart.so").exists()
    ran.clear()
    kernels.build(target, tmp_path, wheels, tmp_path / "site", exl3="no")
    assert not [argv for argv in ran if "pip" in argv or "venv" in argv]
    kernels.build(target, tmp_path, wheels[1:], tmp_path / "site", exl3="no")
    assert [argv for argv in ran if "pip" in argv]


def test_a_missing_python_is_named_with_the_way_out(kernels, ran, tmp_path):
    with pytest.raises(SystemExit, match=r"PYTHON_OF_GPU: no Python 3\.14 .* KERNELS=no"):
        kernels.environment(kernels.Target(python="3.14"), tmp_path, [])
