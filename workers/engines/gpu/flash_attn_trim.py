"""flash-attn, cut down to what exllamav2 calls: forward, FP16, a few sizes of heads.

As it comes, it is 72 kernels and hours of compiling. Which kernels exist is written in two macros
and a list of files; all three must be cut alike, or the result does not load.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from forebay.routing.errors import EngineUnavailable, Misconfigured
from forebay.workers.engines.gpu.compile import Spec

VERSION = "2.8.3.post2"
SHA256 = "d0f9f0b08a986cdeadbffcf5ec8b3a8f514366c68ad1853d3ab061bc83cc340b"
HEAD_SIZES = (64, 128)
ALL_SIZES = (32, 64, 96, 128, 192, 256)
_KERNEL_MINUTES = 2.5  # of one core, for one kernel and architecture: measured 1.0 to 2.6
_OFF = ("BACKWARD", "DROPOUT", "ALIBI")  # windows and softcap stay: Gemma needs them
_UNDO = ("HALF_OPERATORS", "HALF_CONVERSIONS", "HALF2_OPERATORS", "BFLOAT16_CONVERSIONS")

_SWITCHES = "csrc/flash_attn/src/static_switch.h"
_API = "csrc/flash_attn/flash_api.cpp"
_BACKWARD = re.compile(
    r"^void run_mha_bwd\(Flash_bwd_params &params, .*?^}\n", re.MULTILINE | re.DOTALL
)
_FP16 = """\
#define FP16_SWITCH(COND, ...)                                          \\
  [&] {                                                                 \\
    TORCH_CHECK(COND, "this flash-attn is built for FP16 alone");       \\
    using elem_type = cutlass::half_t;                                  \\
    return __VA_ARGS__();                                               \\
  }()

"""


def sdist(given: Path | None, folder: Path) -> Path:
    """The source of flash-attn: the file given, or fetched with pip into the folder.

    Raises:
        Misconfigured: The file is not the pinned version.
        EngineUnavailable: There is none, and it cannot be fetched.
    """
    path = given or _fetched(folder)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
    if digest != SHA256:
        raise Misconfigured(f"is not the source of flash-attn {VERSION}", field=str(path))
    return path


def _fetched(folder: Path) -> Path:
    path = folder / f"flash_attn-{VERSION}.tar.gz"
    if path.exists():
        return path
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    argv += ["--no-build-isolation", "--no-binary", ":all:", "--dest", str(folder)]
    # pip asks a source for its needs by running its setup, which would look for a GPU's compiler.
    setup = {"FLASH_ATTENTION_SKIP_CUDA_BUILD": "TRUE"}
    done = subprocess.run(  # noqa: S603 - pip, with our own words
        [*argv, f"flash-attn=={VERSION}"], env={**os.environ, **setup}, check=False,
        capture_output=True, timeout=600,
    )  # fmt: skip
    if done.returncode or not path.exists():
        raise EngineUnavailable(
            f"pip cannot fetch the source of flash-attn {VERSION}; "
            "fetch it elsewhere and say --flash-attn-sdist FILE"
        )
    return path


def unpack(archive: Path, folder: Path, sizes: Sequence[int]) -> Path:
    """Unpack the source into the folder, cut it down, and return where it is.

    Files are as old as the archive says: to ninja, those of today would be changes, and all that an
    earlier build compiled of them would be compiled again.
    """
    place = folder / f"flash_attn-{VERSION}"
    shutil.rmtree(place, ignore_errors=True)
    with tarfile.open(archive) as tar:
        wanted = [
            m for m in tar if re.match(r"[^/]+/(flash_attn|csrc/(flash_attn|cutlass))/", m.name)
        ]
        for member in wanted:
            _place(tar, member, folder)
    _rewrite(place / _SWITCHES, lambda text: cut_switches(text, sizes))
    _rewrite(place / _API, cut_backward)
    return place


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one plain file of an archive; not every Python 3.11 has filters for this."""
    path = (folder / member.name).resolve()
    source = tar.extractfile(member) if member.isfile() else None
    if source is not None and path.is_relative_to(folder.resolve()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read())
        os.utime(path, (member.mtime, member.mtime))


def _rewrite(path: Path, cut: Callable[[str], str]) -> None:
    """Cut a file and leave it as old as it was."""
    age = path.stat()
    path.write_text(cut(path.read_text()))
    os.utime(path, ns=(age.st_atime_ns, age.st_mtime_ns))


def cut_switches(text: str, sizes: Sequence[int]) -> str:
    """The header whose macros choose kernels, choosing among those that are compiled.

    A head of another size takes the next larger kernel; one that is too large is an error, where
    the original does nothing and returns what was in memory.
    """
    before, found, _ = text.partition("#define FP16_SWITCH(")
    if not found or "#define HEADDIM_SWITCH(" not in text:
        raise EngineUnavailable("flash-attn's source is not as expected: static_switch.h")
    return before + _FP16 + _head_sizes(sorted(sizes))


def _head_sizes(sizes: Sequence[int]) -> str:
    lines = ["#define HEADDIM_SWITCH(HEADDIM, ...)", "  [&] {"]
    for size in sizes:
        lines.append(f"    if (HEADDIM <= {size}) {{")
        lines.append(f"      constexpr static int kHeadDim = {size};")
        lines += ["      return __VA_ARGS__();", "    }"]
    largest = f'"this flash-attn is built for heads of up to {sizes[-1]}"'
    lines.append(f"    TORCH_CHECK(false, {largest});")
    return " \\\n".join([*lines, "  }()"]) + "\n"


def cut_backward(text: str) -> str:
    """The interface without its call of training kernels, which are not compiled."""
    cut, found = _BACKWARD.subn("void run_mha_bwd(Flash_bwd_params &, cudaStream_t) {}\n", text)
    if found != 1:
        raise EngineUnavailable("flash-attn's source is not as expected: flash_api.cpp")
    return cut


def spec(place: Path, sizes: Sequence[int], standard: str) -> Spec:
    """What to compile of the source that was cut down."""
    folder = place / "csrc/flash_attn"
    kernels = [
        str(folder / f"src/flash_{kind}_hdim{size}_fp16{mask}_sm80.cu")
        for size in sorted(sizes)
        for kind in ("fwd", "fwd_split")
        for mask in ("", "_causal")
    ]
    off = tuple(f"-DFLASHATTENTION_DISABLE_{name}" for name in _OFF)
    # Read by nobody: files that are cut for other sizes are no newer, but then compiled anew.
    off += (f"-DCUT_FOR_HEAD_SIZES={'_'.join(map(str, sorted(sizes)))}",)
    relaxed = ("--expt-relaxed-constexpr", "--expt-extended-lambda", "--use_fast_math")
    undo = tuple(f"-U__CUDA_NO_{name}__" for name in _UNDO)
    return Spec(
        name="flash_attn_2_cuda",
        sources=(str(place / _API), *kernels),
        include=tuple(map(str, (folder, folder / "src", place / "csrc/cutlass/include"))),
        cxx=("-O3", standard, *off),
        nvcc=("-O3", standard, *undo, *relaxed, *off),
        cpu_minutes=1 + _KERNEL_MINUTES * len(kernels),
    )


def lay(place: Path, target: Path) -> None:
    """Copy the two Python files that stand before the kernels, and the licence if it came along."""
    package = target / "flash_attn"
    package.mkdir(parents=True, exist_ok=True)
    for name in ("__init__.py", "flash_attn_interface.py"):
        shutil.copyfile(place / "flash_attn" / name, package / name)
