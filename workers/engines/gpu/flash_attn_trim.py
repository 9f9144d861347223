"""Trim flash-attn to what exllamav2 calls: forward only, FP16, a few sizes of heads.

The whole flash-attn has 72 kernels and takes hours to compile. Two macros and a list of files
choose the kernels; all three must be cut alike, or the module does not load.
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
_KERNEL_MINUTES = 2.5  # of one core, for one kernel and architecture; 1.0 to 2.6 were measured
_DISABLED = ("BACKWARD", "DROPOUT", "ALIBI")  # windows and softcap stay: Gemma needs them
_UNDEFINED = ("HALF_OPERATORS", "HALF_CONVERSIONS", "HALF2_OPERATORS", "BFLOAT16_CONVERSIONS")

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
    """Return the source of flash-attn: the given file, or a download with pip into the folder.

    Raises:
        Misconfigured: The file cannot be read, or is not the pinned version.
        EngineUnavailable: No file is given, and pip cannot download it.
    """
    path = given or _download(folder)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
    if digest != SHA256:
        raise Misconfigured(f"is not the source of flash-attn {VERSION}", field=str(path))
    return path


def _download(folder: Path) -> Path:
    path = folder / f"flash_attn-{VERSION}.tar.gz"
    if path.exists():
        return path
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    argv += ["--no-build-isolation", "--no-binary", ":all:", "--dest", str(folder)]
    # pip runs the setup of a source to learn its requirements; that would look for nvcc.
    setup = {"FLASH_ATTENTION_SKIP_CUDA_BUILD": "TRUE"}
    done = subprocess.run(  # noqa: S603 - pip, with our own arguments
        [*argv, f"flash-attn=={VERSION}"], env={**os.environ, **setup}, check=False,
        capture_output=True, timeout=600,
    )  # fmt: skip
    if done.returncode or not path.exists():
        raise EngineUnavailable(
            f"pip cannot download the source of flash-attn {VERSION}; "
            "download it elsewhere and pass --flash-attn-sdist FILE"
        )
    return path


def unpack(archive: Path, folder: Path, sizes: Sequence[int]) -> Path:
    """Unpack the source into the folder, trim it, and return its folder.

    Files keep the time that the archive says. With a new time ninja would see changes, and compile
    again what an earlier build has compiled.
    """
    place = folder / f"flash_attn-{VERSION}"
    shutil.rmtree(place, ignore_errors=True)
    with tarfile.open(archive) as tar:
        wanted = [
            m for m in tar if re.match(r"[^/]+/(flash_attn|csrc/(flash_attn|cutlass))/", m.name)
        ]
        for member in wanted:
            _extract(tar, member, folder)
    _rewrite(place / _SWITCHES, lambda text: cut_switches(text, sizes))
    _rewrite(place / _API, cut_backward)
    return place


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one plain file of an archive; some releases of Python 3.11 have no filters for it."""
    path = (folder / member.name).resolve()
    source = tar.extractfile(member) if member.isfile() else None
    if source is not None and path.is_relative_to(folder.resolve()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read())
        os.utime(path, (member.mtime, member.mtime))


def _rewrite(path: Path, cut: Callable[[str], str]) -> None:
    """Cut a file, and keep its time."""
    status = path.stat()
    path.write_text(cut(path.read_text()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut_switches(text: str, sizes: Sequence[int]) -> str:
    """Cut the macros that choose kernels down to the kernels that are compiled.

    A head of another size takes the next larger kernel. A head that is too large raises an error;
    the original would return uninitialized memory.
    """
    before, macro, _ = text.partition("#define FP16_SWITCH(")
    if not macro or "#define HEADDIM_SWITCH(" not in text:
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
    """Cut the call of training kernels, which are not compiled, out of the interface."""
    cut, count = _BACKWARD.subn("void run_mha_bwd(Flash_bwd_params &, cudaStream_t) {}\n", text)
    if count != 1:
        raise EngineUnavailable("flash-attn's source is not as expected: flash_api.cpp")
    return cut


def spec(place: Path, sizes: Sequence[int], standard: str) -> Spec:
    """Return what to compile of the trimmed source."""
    folder = place / "csrc/flash_attn"
    kernels = [
        str(folder / f"src/flash_{kind}_hdim{size}_fp16{mask}_sm80.cu")
        for size in sorted(sizes)
        for kind in ("fwd", "fwd_split")
        for mask in ("", "_causal")
    ]
    defines = tuple(f"-DFLASHATTENTION_DISABLE_{name}" for name in _DISABLED)
    # No file reads this. It makes ninja compile again for other sizes, since the files keep
    # their time.
    defines += (f"-DCUT_FOR_HEAD_SIZES={'_'.join(map(str, sorted(sizes)))}",)
    relaxed = ("--expt-relaxed-constexpr", "--expt-extended-lambda", "--use_fast_math")
    undefines = tuple(f"-U__CUDA_NO_{name}__" for name in _UNDEFINED)
    return Spec(
        name="flash_attn_2_cuda",
        sources=(str(place / _API), *kernels),
        include=tuple(map(str, (folder, folder / "src", place / "csrc/cutlass/include"))),
        cxx=("-O3", standard, *defines),
        nvcc=("-O3", standard, *undefines, *relaxed, *defines),
        cpu_minutes=1 + _KERNEL_MINUTES * len(kernels),
    )


def copy_package(place: Path, target: Path) -> None:
    """Copy the two Python files that call the kernels."""
    package = target / "flash_attn"
    package.mkdir(parents=True, exist_ok=True)
    for name in ("__init__.py", "flash_attn_interface.py"):
        shutil.copyfile(place / "flash_attn" / name, package / name)
