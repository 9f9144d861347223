"""Compiles one extension with torch's own means, in a process of its own: a `Spec` on stdin.

Apart, because what it needs is set by environment, and because torch imports what it compiled.
ninja keeps what is done already: a build that broke off goes on.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from json import dumps, loads
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spec:
    """One extension.

    Attributes:
        name: of the module.
        sources: C++ and CUDA files.
        include: folders of headers.
        cxx, nvcc: flags of the two compilers.
        cpu_minutes: what it takes for one architecture, roughly.
    """

    name: str
    sources: tuple[str, ...]
    include: tuple[str, ...]
    cxx: tuple[str, ...]
    nvcc: tuple[str, ...]
    cpu_minutes: float

    def dumps(self) -> str:
        """As `main` reads it."""
        return dumps(asdict(self))


def main() -> None:
    """Leave NAME.so in the folder that is the only argument."""
    spec = Spec(**loads(sys.stdin.read()))
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    # Left by a process that was killed, it would be waited for without end. There is one builder.
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
