"""The extensions that exllamav2 and exllamav3 would compile on import, as their own code has it."""

from __future__ import annotations

import ast
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from forebay.routing.errors import EngineUnavailable
from forebay.workers.engines.gpu.compile import Spec
from forebay.workers.engines.gpu.toolchain import Toolchain

EXLLAMAV2 = "0.3.2"
EXLLAMAV3 = "1.6.5"
_EXL2_MINUTES = 10.0  # of one core and one architecture; two took 19.5
_EXL3_MINUTES = 45.0  # likewise


def exllamav2(tools: Toolchain) -> Spec:
    """Return the extension of exllamav2, whose code lists the files.

    Raises:
        EngineUnavailable: Another version than the pinned one is installed, or none.
    """
    library = _library("exllamav2", EXLLAMAV2)
    folder = library / "exllamav2_ext"
    tree = ast.parse((library / "ext.py").read_text())
    lists = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "sources_"
    )
    names: list[str] = ast.literal_eval(next(lists))
    return Spec(
        name=folder.name,
        sources=tuple(str(folder / name) for name in names),
        include=(str(folder),),
        cxx=("-Ofast", tools.standard),
        nvcc=("-O3", tools.standard),  # not its -lineinfo: profilers read it, and it is large
        cpu_minutes=_EXL2_MINUTES,
    )


def exllamav3(tools: Toolchain) -> Spec:
    """Return the whole extension of exllamav3. A file of its own, made for this, tells its files.

    Raises:
        EngineUnavailable: Another version than the pinned one is installed, or none.
    """
    library = _library("exllamav3", EXLLAMAV3)
    folder = library / "exllamav3_ext"
    told = _module_at(library / "util/cuda_flags.py")
    return Spec(
        name=folder.name,
        sources=tuple(told.extension_sources(str(folder))),
        include=(str(folder),),
        cxx=("-Ofast", tools.standard),
        nvcc=(*told.cuda_cflags(str(tools.home)), tools.standard),
        cpu_minutes=_EXL3_MINUTES,
    )


def _library(package: str, wanted: str) -> Path:
    """Return the folder of an installed package without importing it, which would compile."""
    try:
        installed = version(package)
    except PackageNotFoundError:
        installed = "none"
    if installed != wanted:
        fix = f"pip install --no-deps {package}=={wanted}"
        raise EngineUnavailable(f"{package} {wanted} is needed, {installed} is installed; {fix}")
    spec = find_spec(package)
    assert spec is not None
    return Path(str(spec.origin)).parent


def _module_at(path: Path) -> ModuleType:
    """Run a file of a package without importing the package."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
