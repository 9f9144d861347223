"""Compile one extension with torch, in a process of its own that reads a `Spec` from stdin.

It has its own process because the compilers are configured by the environment, and because torch
imports the module that it compiled. ninja keeps compiled files, so an interrupted build goes on.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from json import dumps, loads
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spec:
    """An extension to compile.

    Attributes:
        name: of the module.
        sources: C++ and CUDA files.
        include: folders of headers.
        cxx: flags of the C++ compiler.
        nvcc: flags of the CUDA compiler.
        cpu_minutes: rough time of one core for one architecture.
    """

    name: str
    sources: tuple[str, ...]
    include: tuple[str, ...]
    cxx: tuple[str, ...]
    nvcc: tuple[str, ...]
    cpu_minutes: float

    def dumps(self) -> str:
        """Return the spec as JSON, for `main`."""
        return dumps(asdict(self))


def main() -> None:
    """Compile the spec into NAME.so, in the folder that is the only argument."""
    spec = Spec(**loads(sys.stdin.read()))
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    # torch would wait for ever for the lock of a killed process. Only one build runs at a time.
    (folder / "lock").unlink(missing_ok=True)
    import_module("torch.utils.cpp_extension").load(
        name=spec.name,
        sources=list(spec.sources),
        extra_include_paths=list(spec.include),
        extra_cflags=list(spec.cxx),
        extra_cuda_cflags=list(spec.nvcc),
        build_directory=str(folder),
        verbose=True,
    )


if __name__ == "__main__":
    main()
