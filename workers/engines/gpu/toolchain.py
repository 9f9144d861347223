"""Check the compilers of this machine before a build, so that none fails half an hour later."""

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

#: Built for on a machine without a GPU: 16 GB cards of three generations, and H100.
ARCHITECTURES = ("8.0", "9.0", "12.0")
MIN_DISK_BYTES = 6 << 30
JOB_BYTES = 4 << 30  # memory of a compiler; a kernel of flash-attn takes 3.9 GB
_MEMINFO = Path("/proc/meminfo")
_MIN_CXX20_NVCC = (13, 3)  # this nvcc and newer ones cannot compile torch's headers as C++17


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The compilers for the installed torch.

    Attributes:
        home: the CUDA toolkit.
        nvcc: its version, such as (13, 0).
        torch: torch's version, such as `2.11.0+cu130`.
        cuda: the CUDA version that torch was built for, such as `13.0`.
        headers: further folders with CUDA's headers, if pip installed some.
    """

    home: Path
    nvcc: tuple[int, int]
    torch: str
    cuda: str
    headers: tuple[Path, ...]

    @property
    def standard(self) -> str:
        """The compiler's flag for the version of C++."""
        return "-std=c++20" if self.nvcc >= _MIN_CXX20_NVCC else "-std=c++17"

    def environment(
        self, architectures: list[str], jobs: int, base: Mapping[str, str] = os.environ
    ) -> dict[str, str]:
        """Return the environment of the compiling process, so that torch guesses nothing."""
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
    """Find everything that a build needs, and check that the versions agree.

    Raises:
        EngineUnavailable: Something is missing or does not agree; the message says what to do.
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
    packaged = Path(str(torch.__file__)).parents[1] / "nvidia" / f"cu{nvcc[0]}" / "include"
    headers = (packaged,) if packaged.is_dir() else ()
    return Toolchain(home, nvcc, str(torch.__version__), wanted, headers)


def cuda_home() -> Path:
    """Return the toolkit: `CUDA_HOME`, or that of the nvcc on the path, or a usual place.

    An nvcc that is a wrapper script has no headers beside it; the real one says where it is.

    Raises:
        EngineUnavailable: There is no toolkit.
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
        # As in CMake's FindCUDAToolkit; the file to compile need not exist.
        done = subprocess.run(  # noqa: S603 - the nvcc that was found
            [nvcc, "-v", "nothing"], capture_output=True, text=True, check=False, timeout=60
        )
        if match := re.search(r"^#\$ TOP=(.+)$", done.stderr, re.MULTILINE):
            yield Path(match[1]).resolve()
    yield Path("/usr/local/cuda")
    yield from sorted(Path("/usr/local").glob("cuda-*"), reverse=True)


def nvcc_version(home: Path) -> tuple[int, int]:
    """Return the version that the toolkit's nvcc prints.

    Raises:
        EngineUnavailable: nvcc prints no version.
    """
    done = subprocess.run(  # noqa: S603 - the nvcc that was found
        [home / "bin/nvcc", "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    match = re.search(r"release (\d+)\.(\d+)", done.stdout)
    if not match:
        raise EngineUnavailable(f"{home}/bin/nvcc does not say its version; install it again")
    return int(match[1]), int(match[2])


def need(program: str, fix: str) -> None:
    """Check that a program is on the path, or beside this Python."""
    own = Path(sys.executable).parent
    if shutil.which(program, path=os.pathsep.join([str(own), os.environ.get("PATH", "")])) is None:
        raise EngineUnavailable(f"{program} is not on the path; {fix}")


def need_headers() -> None:
    """Check that the compiler finds Python.h, in its usual folder or in `CPATH`."""
    own = sysconfig.get_path("include", "posix_prefix")
    named = filter(None, os.environ.get("CPATH", "").split(os.pathsep))
    if not any(Path(folder, "Python.h").exists() for folder in (own, *named)):
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
        raise EngineUnavailable(f"Python.h is not in {own}; apt-get install {package}")


def need_disk(place: Path) -> None:
    """Check that the disk has room for a build under a folder, which need not exist yet."""
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < MIN_DISK_BYTES:
        raise EngineUnavailable(
            f"{existing} has {free / 2**30:.1f} GiB free, a build takes {MIN_DISK_BYTES >> 30}; "
            "make room, or set FOREBAY_GPU to a folder on another disk"
        )


def default_jobs() -> int:
    """Return how many compilers run at once: one for each core, if memory allows."""
    return max(1, min(len(os.sched_getaffinity(0)), _available_memory() // JOB_BYTES))


def _available_memory() -> int:
    """Return the bytes that programs can get, caches included."""
    try:
        match = re.search(r"^MemAvailable: +(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match:
        return int(match[1]) << 10
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def default_architectures() -> list[str]:
    """Return the architectures of the GPUs that torch sees; without any, a general set."""
    torch = import_module("torch")
    if not torch.cuda.is_available():
        return list(ARCHITECTURES)
    capabilities = {torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())}
    return [f"{major}.{minor}" for major, minor in sorted(capabilities)]
