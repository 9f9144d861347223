"""Compile the kernels of a GPU machine here, without a GPU: a part of `make gpu-wheels`.

`forebay gpu build` compiles, in an environment with the Python, the torch and the packages of the
GPU machine. nvcc comes from the package index too. The environment and all compiled files are kept,
so an interrupted build goes on, and a repeated one costs seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The oldest CUDA whose wheels install one folder with nvcc, as `forebay gpu build` needs it.
_OLDEST_CUDA = 13
#: The compilers yield to everything else on this machine.
_LAST = ("nice", "-n", "19")
_CARRIED = "carried.pth"
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")


@dataclass(frozen=True)
class Target:
    """The machine to compile for.

    Attributes:
        python: its Python, such as `3.12`.
        torch: its torch, such as `2.11.0`.
        cuda: the CUDA that its torch is built for, such as `13.0`.
        architectures: compute capabilities, such as `9.0`.
    """

    python: str = "3.12"
    torch: str = "2.11.0"
    cuda: str = "13.0"
    architectures: tuple[str, ...] = ("9.0",)

    @classmethod
    def of_environment(cls) -> Target:
        """Read PYTHON_OF_GPU, TORCH_OF_GPU, CUDA_OF_GPU and ARCHS_OF_GPU (`8.6 8.9` or `sm_86`)."""
        given = {
            "python": _version("PYTHON_OF_GPU", cls.python, r"3\.\d+"),
            "torch": _version("TORCH_OF_GPU", cls.torch, r"\d+\.\d+\.\d+"),
            "cuda": _version("CUDA_OF_GPU", cls.cuda, r"\d+\.\d+"),
        }
        if int(given["cuda"].partition(".")[0]) < _OLDEST_CUDA:
            sys.exit(f"CUDA_OF_GPU: {given['cuda']} has no wheels of nvcc; 13.0 is the oldest")
        names = os.environ.get("ARCHS_OF_GPU", "").replace(",", " ").split()
        return cls(**given, architectures=tuple(map(_architecture, names)) or cls.architectures)

    @property
    def requirements(self) -> list[str]:
        """The packages of the compilers. nvcc alone would take newer parts than its own version."""
        toolkit = ("cuda-nvcc", "nvvm", "cuda-crt", "cuda-cccl", "cuda-runtime")
        return [
            f"torch=={self.torch}", *(f"nvidia-{part}=={self.cuda}.*" for part in toolkit),
            "ninja", "packaging", "setuptools<82",
        ]  # fmt: skip


def _version(name: str, default: str, pattern: str) -> str:
    value = os.environ.get(name) or default
    if not re.fullmatch(pattern, value):
        sys.exit(f"{name}: {value} is not a version such as {default}")
    return value


def _architecture(name: str) -> str:
    match = re.fullmatch(r"(?:sm_)?(\d+)\.?(\d)", name)
    if match is None:
        sys.exit(f"ARCHS_OF_GPU: {name} is not a compute capability such as 8.9 or sm_89")
    return f"{match[1]}.{match[2]}"


def build(target: Target, home: Path, wheels: Sequence[Path], site: Path, *, exl3: str) -> Path:
    """Compile what is not compiled yet, and return the folder of the modules.

    Args:
        target: the machine.
        home: a folder that is kept.
        wheels: packages to install beside torch: what the machine has, and the source to compile.
        site: the folder of the packages that the machine lacks.
        exl3: `yes` compiles exllamav3 too, for dense models; `all` also for mixtures of experts.
    """
    venv = environment(target, home, wheels)
    packages = next(venv.glob("lib/python*/site-packages"))
    env = {
        "CUDA_HOME": str(_toolkit(packages, target)),
        "FOREBAY_GPU": str(home / "builds"),
        "PYTHONPATH": "",
    }
    argv: list[str | Path] = [
        *_LAST,
        venv / "bin/python",
        "-c",
        "from forebay.workers.commands.gpu import app; app()",
        "build",
    ]
    argv += ["--flash-attn-sdist", next((home / "wheels").glob("flash_attn-*.tar.gz"))]
    argv += {"yes": ["--exllamav3"], "all": ["--exllamav3-all"]}.get(exl3, [])
    argv += ["--jobs", os.environ["JOBS"]] if os.environ.get("JOBS") else []
    for name in target.architectures:
        argv += ["--arch", name]
    began = time.monotonic()
    carried = packages / _CARRIED
    # Behind the environment's own: new times of files in `site` must not compile them again.
    carried.write_text(f"{site}\n{ROOT / 'src'}\n")
    try:
        done = subprocess.run(
            argv, env={**os.environ, **env}, check=False, stdout=subprocess.PIPE, text=True
        )
    finally:
        carried.unlink()  # a rehearsal needs an environment like the machine's
    if done.returncode:
        sys.exit(done.returncode)
    place = Path(done.stdout.strip().splitlines()[-1])
    _strip(place)
    print(f"kernels: {(time.monotonic() - began) / 60:.0f} minutes, {', '.join(_sizes(place))}")
    return place


def environment(target: Target, home: Path, wheels: Sequence[Path]) -> Path:
    """Return a virtual environment like the machine's; a complete one is used again."""
    venv = home / f"machine-{target.python}-torch{target.torch}-cu{target.cuda}"
    wanted = "\n".join([*target.requirements, *(wheel.name for wheel in wheels)])
    complete = venv / "complete"
    if complete.exists() and complete.read_text() == wanted:
        return venv
    print(f"installing torch {target.torch} and nvcc {target.cuda} (once, gigabytes)", flush=True)
    subprocess.run([_interpreter(target.python), "-m", "venv", venv], check=True)
    for carried in venv.glob(f"lib/python*/site-packages/{_CARRIED}"):
        carried.unlink()  # pip would find a package there, and not install it
    pip = [venv / "bin/python", *_PIP]
    subprocess.run([*pip, *target.requirements], check=True)
    # After torch, which brings some of them too: these are the versions that were downloaded.
    subprocess.run([*pip, "--no-index", "--no-deps", *wheels], check=True)
    complete.write_text(wanted)
    return venv


def _interpreter(version: str) -> Path:
    for python in _interpreters(version):
        ask = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return python
    sys.exit(
        f"PYTHON_OF_GPU: no Python {version} with its headers is here to compile for; install it, "
        "or say KERNELS=no and let the GPU machine compile"
    )


def _interpreters(version: str) -> Iterator[Path]:
    yield Path(sys.executable).resolve()
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    # pyenv has commands only for the versions that it is set to use.
    yield from sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))


def _toolkit(packages: Path, target: Target) -> Path:
    """Return CUDA's folder in the environment, with the names that a linker looks for."""
    toolkit = packages / f"nvidia/cu{target.cuda.partition('.')[0]}"
    if not (toolkit / "lib64").exists():
        (toolkit / "lib64").symlink_to("lib")
    for library in toolkit.glob("lib/libcudart.so.*"):
        plain = library.with_name("libcudart.so")
        if not plain.exists():
            plain.symlink_to(library.name)
    return toolkit


def _strip(place: Path) -> None:
    for module in place.glob("*.so"):
        subprocess.run(["strip", "--strip-unneeded", module], check=True)


def _sizes(place: Path) -> list[str]:
    return [
        f"{each.name} {each.stat().st_size / 2**20:.0f} MiB" for each in sorted(place.glob("*.so"))
    ]
