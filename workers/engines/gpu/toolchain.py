"""The compiler of this machine: looked over before a build, so that none fails half an hour in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path

from forebay.routing.errors import EngineUnavailable
from forebay.workers.engines.gpu import probe

#: Where there is no GPU to ask: what 16 GB cards of three generations run, and H100.
ARCHITECTURES = ("8.0", "9.0", "12.0")
DISK_BYTES = 6 << 30
JOB_BYTES = 4 << 30  # a kernel of flash-attn takes 3.9 GB of memory to compile
_MEMINFO = Path("/proc/meminfo")
_NEEDS_CXX20 = (13, 3)  # torch's headers, compiled as C++17 by this nvcc or a newer one, fail


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What compiles for the torch that is installed.

    Attributes:
        home: the CUDA toolkit.
        nvcc: its version, as (13, 0).
        torch: torch's version, as `2.11.0+cu130`.
        cuda: the CUDA version that torch was built for, as `13.0`.
        headers: further folders with CUDA's headers, where pip brought them.
    """

    home: Path
    nvcc: tuple[int, int]
    torch: str
    cuda: str
    headers: tuple[Path, ...]

    @property
    def standard(self) -> str:
        """The compiler's flag for the version of C++."""
        return "-std=c++20" if self.nvcc >= _NEEDS_CXX20 else "-std=c++17"

    def environment(
        self, architectures: list[str], jobs: int, base: Mapping[str, str] = os.environ
    ) -> dict[str, str]:
        """For the process that compiles: nothing is left for torch to guess."""
        own = str(Path(sys.executable).parent)  # where pip puts ninja
        path = [str(self.home / "bin"), own, base.get("PATH", os.defpath)]
        headers = [*map(str, self.headers), *filter(None, [base.get("CPATH")])]
        return {
            **base,
            "CUDA_HOME": str(self.home),
            "PATH": os.pathsep.join(path),
            "CPATH": os.pathsep.join(headers),
            "TORCH_CUDA_ARCH_LIST": ";".join(architectures),
            "MAX_JOBS": str(jobs),
        }


def find() -> Toolchain:
    """All that a build needs is here and fits together.

    Raises:
        EngineUnavailable: Something is missing or does not fit; with what to do about it.
    """
    for finding in islice(probe.findings(fallback=False), 2):  # torch itself, and its CUDA
        if finding.state == "fail":
            raise EngineUnavailable(f"{finding.seen}; {finding.mend}")
    torch = import_module("torch")
    home = cuda_home()
    nvcc = nvcc_version(home)
    wanted = str(torch.version.cuda)
    if str(nvcc[0]) != wanted.partition(".")[0]:
        raise EngineUnavailable(
            f"nvcc is {nvcc[0]}.{nvcc[1]} ({home}), torch is built for CUDA {wanted}; "
            f"install the toolkit {wanted} and set CUDA_HOME to it"
        )
    need("c++", "a C++ compiler: apt-get install g++")
    need("ninja", "pip install ninja")
    need_headers()
    brought = Path(str(torch.__file__)).parents[1] / "nvidia" / f"cu{nvcc[0]}" / "include"
    headers = (brought,) if brought.is_dir() else ()
    return Toolchain(home, nvcc, str(torch.__version__), wanted, headers)


def cuda_home() -> Path:
    """The toolkit: `CUDA_HOME`, or that of the nvcc on the path, or a usual place.

    A wrapper script by the name of nvcc has no headers beside it; what it wraps says where it is.
    """
    named = os.environ.get("CUDA_HOME")
    for home in [Path(named)] if named else _homes():
        if (home / "bin/nvcc").exists() and (home / "include/cuda_runtime.h").exists():
            return home
    where = f"CUDA_HOME={named} has none" if named else "CUDA_HOME is not set, and none is found"
    raise EngineUnavailable(
        f"no CUDA toolkit with nvcc and headers: {where}; install the one of torch's CUDA version"
    )


def _homes() -> Iterator[Path]:
    nvcc = shutil.which("nvcc")
    if nvcc:
        yield Path(nvcc).resolve().parents[1]
        # So asks CMake's FindCUDAToolkit: there need be nothing to compile.
        said = subprocess.run(  # noqa: S603 - the nvcc that was found
            [nvcc, "-v", "nothing"], capture_output=True, text=True, check=False, timeout=60
        )
        if match := re.search(r"^#\$ TOP=(.+)$", said.stderr, re.MULTILINE):
            yield Path(match[1]).resolve()
    yield Path("/usr/local/cuda")
    yield from sorted(Path("/usr/local").glob("cuda-*"), reverse=True)


def nvcc_version(home: Path) -> tuple[int, int]:
    """Of the toolkit's nvcc, by its own words."""
    done = subprocess.run(  # noqa: S603 - the nvcc that was found
        [home / "bin/nvcc", "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    match = re.search(r"release (\d+)\.(\d+)", done.stdout)
    if not match:
        raise EngineUnavailable(f"{home}/bin/nvcc does not say its version; install it again")
    return int(match[1]), int(match[2])


def need(program: str, mend: str) -> None:
    """A program must be on the path, or beside this Python."""
    own = Path(sys.executable).parent
    if shutil.which(program, path=os.pathsep.join([str(own), os.environ.get("PATH", "")])) is None:
        raise EngineUnavailable(f"{program} is not on the path; {mend}")


def need_headers() -> None:
    """Python's own, where torch tells the compiler to look, or where `CPATH` does."""
    own = sysconfig.get_path("include", "posix_prefix")
    named = filter(None, os.environ.get("CPATH", "").split(os.pathsep))
    if not any(Path(folder, "Python.h").exists() for folder in (own, *named)):
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
        raise EngineUnavailable(f"Python.h is not in {own}; apt-get install {package}")


def need_disk(place: Path) -> None:
    """Room for objects and results, under a folder that need not be there yet."""
    there = next(each for each in (place, *place.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < DISK_BYTES:
        raise EngineUnavailable(
            f"{there} has {free / 2**30:.1f} GiB free, a build takes {DISK_BYTES >> 30}; "
            "make room, or set FOREBAY_GPU to a folder on another disk"
        )


def default_jobs() -> int:
    """Compilers at once: one a core, and no more than fit into memory."""
    return max(1, min(len(os.sched_getaffinity(0)), _memory() // JOB_BYTES))


def _memory() -> int:
    """Bytes that programs can have: more than are free, since caches give theirs up."""
    try:
        match = re.search(r"^MemAvailable: +(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match:
        return int(match[1]) << 10
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def default_architectures() -> list[str]:
    """Those of the GPUs that torch sees; a general set where it sees none."""
    torch = import_module("torch")
    if not torch.cuda.is_available():
        return list(ARCHITECTURES)
    seen = {torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())}
    return [f"{major}.{minor}" for major, minor in sorted(seen)]
