"""`forebay gpu`: check a GPU machine, and compile what it lacks."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.settings import read
from forebay.routing.terminal.options import Json, flag, group, option
from forebay.workers.engines.gpu import build, flash_attn_trim, probe, toolchain
from forebay.workers.engines.settings import EngineSettings

app = group("Check a GPU machine, compile the kernels of its engines.")

BUILD = """Compile exllamav2's extension and a trimmed flash-attn. Workers then only load them.

With --exllamav3, compile exllamav3's extension for dense models too, half an hour more of one core;
with --exllamav3-all, also its code for mixtures of experts.

Needs torch for CUDA, nvcc of the same CUDA version, a C++ compiler and ninja; no GPU.

\b
  forebay gpu build
  forebay gpu build --arch 8.9 --flash-attn-sdist flash_attn-2.8.3.tar.gz

On a machine without a GPU it compiles for 8.0 (which serves 8.6 and 8.9), 9.0 and 12.0. An
interrupted build goes on where it was. FOREBAY_GPU names another folder than
~/.local/share/forebay/gpu.
"""

Arch = Annotated[list[str] | None, option("--arch", "X.Y", "Compute capability; repeatable.")]
Jobs = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=256, help="Compilers at once; each takes 4 GiB."),
]
Heads = Annotated[str, option("--head-sizes", "N,N", "Sizes of attention heads; 256: Gemma 3.")]
Sdist = Annotated[Path | None, option("--flash-attn-sdist", "FILE", "Without it, pip gets it.")]
Without = Annotated[bool, flag("--without-flash-attn", "For use with FOREBAY_ATTENTION=torch.")]
Exl3 = Annotated[bool, flag("--exllamav3", "Also for FOREBAY_ENGINE=exl3, dense models.")]
Exl3All = Annotated[bool, flag("--exllamav3-all", "Likewise, also for mixtures of experts.")]
Again = Annotated[bool, flag("--again", "Build again even if it is built already.")]


@app.command()
def check(*, as_json: Json = False) -> None:
    """Check whether this machine can run EXL2 models. Exit code 1 if not, with what to do."""
    fallback = read(EngineSettings).attention == "torch"
    findings = probe.examine_apart(fallback=fallback)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            typer.echo(f"{finding.state:5} {finding.name:10} {finding.seen}")
            if finding.mend:
                typer.echo(f"{'':16} -> {finding.mend}")
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


@app.command("build", help=BUILD)
def build_kernels(  # noqa: D103 - BUILD is its help
    *,
    arch: Arch = None,
    jobs: Jobs = None,
    head_sizes: Heads = "64,128",
    sdist: Sdist = None,
    without: Without = False,
    exl3: Exl3 = False,
    exl3_all: Exl3All = False,
    again: Again = False,
    as_json: Json = False,
) -> None:
    sizes = () if without else _sizes(head_sizes)
    architectures = _architectures(arch) if arch else None
    tools = toolchain.find()
    spec = build.BuildSpec(
        architectures or tuple(toolchain.default_architectures()),
        jobs or toolchain.default_jobs(), sizes, sdist,
        "all" if exl3_all else "dense" if exl3 else "no", again,
    )  # fmt: skip
    place = build.build(spec, tools, lambda line: typer.echo(line, err=True))
    typer.echo(json.dumps({"path": str(place)}) if as_json else str(place))
    sys.stdout.flush()


def _sizes(text: str) -> tuple[int, ...]:
    words = text.split(",")
    known = {str(size) for size in flash_attn_trim.ALL_SIZES}
    if not set(words) <= known:
        form = ", ".join(map(str, flash_attn_trim.ALL_SIZES))
        raise Misconfigured(f"must be some of {form}, separated by commas", field="--head-sizes")
    return tuple(sorted({int(word) for word in words}))


def _architectures(names: list[str]) -> tuple[str, ...]:
    if not all(re.fullmatch(r"(8|9|1[0-9])\.\d", name) for name in names):
        raise Misconfigured("must be 8.0 or more, such as 8.9", field="--arch")
    return tuple(dict.fromkeys(names))
