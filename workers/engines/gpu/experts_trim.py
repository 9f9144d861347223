"""Trim exllamav3 to dense models: without its code for mixtures of experts.

A dense model never calls that code, which takes a third of the time of the whole. One small file
takes its place, with functions of the same names: each says what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from forebay.routing.errors import EngineUnavailable
from forebay.workers.engines.gpu.compile import Spec

_MINUTES = 30.0  # of one core and one architecture
_UNITS = re.compile(r"quant/comp_units/exl3_moe_(coop_)?inst_\w+\.cu|cpu/moe_mul1\.cpp")
_HEADERS = (
    "cpu/moe_mul1.h",
    "quant/comp_units/exl3_moe_instances.cuh",
    "quant/comp_units/exl3_moe_coop_instances.cuh",
)
# The functions of a file, by how each kind is written; `_pipe` is for AMD.
_KERNEL = re.compile(r"^fp_exl3_moe_kernel (exl3_moe_kernel_\w+?)(?<!_pipe)\(\)", re.MULTILINE)
_COOPERATIVE = re.compile(r"^EXL3_MOE_COOP_INST_DEF(_H)?\((\d)\)", re.MULTILINE)
_ON_CPU = re.compile(r"^[\w:]\S*(?: \S+)* exl3_moe_cpu_\w+\s*\([^;{}]*\)(?=;)", re.MULTILINE)
MISSING = "exllamav3 is built without mixtures of experts; run: forebay gpu build --exllamav3-all"
# exllamav3 reads all kernels when it is loaded, so the one in their place says so when it runs.
_HEAD = f"""
static __global__ void missing(EXL3_MOE_KERNEL_ARGS) {{
  if (blockIdx.x + blockIdx.y + threadIdx.x == 0) printf("{MISSING}\\n");
  __trap();
}}
"""
_REFUSES = f'{{ TORCH_CHECK(false, "{MISSING}"); }}'


def trimmed(whole: Spec, folder: Path) -> Spec:
    """Return what to compile of exllamav3 for dense models.

    Args:
        whole: all of it.
        folder: the file that takes the place of what is left out is written here.

    Raises:
        EngineUnavailable: The source is not the expected one.
    """
    root = Path(whole.include[0])
    units = [each for each in whole.sources if _UNITS.fullmatch(_inside(each, root))]
    text = stand_in(root, [Path(each).read_text() for each in units])
    file = folder / "exllamav3_without_experts.cu"
    if not file.exists() or file.read_text() != text:  # ninja goes by its time
        file.write_text(text)
    kept = (each for each in whole.sources if each not in units)
    return replace(whole, sources=(*kept, str(file)), cpu_minutes=_MINUTES)


def _inside(source: str, root: Path) -> str:
    return str(Path(source).relative_to(root))


def stand_in(root: Path, units: list[str]) -> str:
    """Return a file with the functions of the given units, without their code.

    Args:
        root: exllamav3's folder of sources, with the headers.
        units: the text of each file that is left out.

    Raises:
        EngineUnavailable: Functions of one kind are not found.
    """
    text, header = "\n".join(units), root / _HEADERS[0]
    declared = header.read_text() if header.exists() else ""
    on_cpu = [f"{each} {_REFUSES}" for each in _ON_CPU.findall(declared)]
    kinds = [list(_kernels(text)), list(_cooperative(text)), on_cpu]
    if not all(kinds):
        raise EngineUnavailable("cannot trim exllamav3: its code for experts has other names")
    own = (f'"{each}"' for each in _HEADERS)
    includes = ("<cstdio>", "<c10/util/Exception.h>", "<cuda_fp16.h>", *own)
    lines = [f"#include {each}" for each in includes]
    return "\n".join([*lines, _HEAD, *(line for kind in kinds for line in kind), ""])


def _kernels(text: str) -> Iterator[str]:
    for name in _KERNEL.findall(text):
        yield f"fp_exl3_moe_kernel {name}() {{ return missing; }}"


def _cooperative(text: str) -> Iterator[str]:
    for half, bits in _COOPERATIVE.findall(text):
        name, codebook = (f"h{bits}", "") if half else (f"k{bits}", "int, ")
        for step, arguments in (("a", "int, bool"), ("b", "bool")):
            function = f"exl3_moe_coop_kernel_{step}_{name}({codebook}{arguments})"
            yield f"MoeCoopKernel {function} {_REFUSES}"
