"""Compile exllamav2's extension and flash-attn once, ahead of time, into a folder of their own.

1. Everything that could fail is checked first (`toolchain`).
2. Only one build runs at a time; an interrupted build keeps what is compiled for the next.
3. The folder appears whole, by renaming, or not at all: a worker never sees half of it.
"""

from __future__ import annotations

import ast
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import forebay
from forebay.routing.errors import EngineUnavailable
from forebay.workers.engines.gpu import flash_attn_trim, prebuilt, toolchain
from forebay.workers.engines.gpu.compile import Spec
from forebay.workers.engines.gpu.toolchain import Toolchain

EXLLAMAV2 = "0.3.2"
_EXTENSION = "exllamav2_ext"
_EXTENSION_MINUTES = 10.0  # of one core and one architecture; two took 19.5
_INSTALLED_IN = Path(forebay.__file__).resolve().parents[1]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """The order for a build.

    Attributes:
        architectures: compute capabilities, such as `8.9`.
        jobs: compilers at once.
        head_sizes: sizes of attention heads; without any, flash-attn is left out
            (FOREBAY_ATTENTION=torch).
        sdist: flash-attn's source; `None` downloads it.
        again: build even if the same was built before.
    """

    architectures: tuple[str, ...]
    jobs: int
    head_sizes: tuple[int, ...] = flash_attn_trim.HEAD_SIZES
    sdist: Path | None = None
    again: bool = False

    @property
    def parts(self) -> dict[str, str]:
        """The parts with their versions, as in the manifest."""
        sizes = ",".join(map(str, self.head_sizes))
        flash = {"flash-attn": f"{flash_attn_trim.VERSION} heads {sizes}"} if sizes else {}
        return {"exllamav2": EXLLAMAV2, **flash}


def build(spec: BuildSpec, tools: Toolchain, say: Say) -> Path:
    """Build what is not there yet, and return its folder.

    Args:
        spec: what to build.
        tools: the compilers.
        say: prints a line of progress.

    Raises:
        EngineUnavailable: A part could not be compiled; the message names its log.
    """
    target = prebuilt.folder(tools.torch, tools.cuda)
    toolchain.need_disk(target)
    source = exllamav2_source()
    with _locked(target.parent):
        if not spec.again and _is_built(target, spec):
            say(f"already built: {target}")
            return target
        work = target.with_name(f".{target.name}.work")
        work.mkdir(exist_ok=True)
        extensions = [extension_spec(source, tools.standard)]
        flash = None
        if spec.head_sizes:
            archive = flash_attn_trim.sdist(spec.sdist, work)
            flash = flash_attn_trim.unpack(archive, work, spec.head_sizes)
            extensions.append(flash_attn_trim.spec(flash, spec.head_sizes, tools.standard))
        say(estimate(extensions, spec))
        modules = [compile_extension(extension, work, spec, tools, say) for extension in extensions]
        _install(target, modules, flash, spec)
        shutil.rmtree(work)
    return target


def exllamav2_source() -> Path:
    """Return the folder of the installed exllamav2 without importing it.

    Raises:
        EngineUnavailable: Another version than the pinned one is installed, or none.
    """
    try:
        installed = version("exllamav2")
    except PackageNotFoundError:
        installed = "none"
    if installed != EXLLAMAV2:
        fix = f"pip install --no-deps exllamav2=={EXLLAMAV2}"
        raise EngineUnavailable(f"exllamav2 {EXLLAMAV2} is needed, {installed} is installed; {fix}")
    spec = find_spec("exllamav2")
    assert spec is not None
    return Path(str(spec.origin)).parent


def extension_spec(source: Path, standard: str) -> Spec:
    """Return the extension that exllamav2 would compile on import; its code lists the files."""
    folder = source / _EXTENSION
    tree = ast.parse((source / "ext.py").read_text())
    lists = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "sources_"
    )
    names: list[str] = ast.literal_eval(next(lists))
    return Spec(
        name=_EXTENSION,
        sources=tuple(str(folder / name) for name in names),
        include=(str(folder),),
        cxx=("-Ofast", standard),
        nvcc=("-O3", standard),  # not exllamav2's -lineinfo: profilers read it, and it is large
        cpu_minutes=_EXTENSION_MINUTES,
    )


def estimate(extensions: Sequence[Spec], spec: BuildSpec) -> str:
    """Say how long the build will take, from measurements on other machines."""
    core = sum(extension.cpu_minutes for extension in extensions) * len(spec.architectures)
    files = sum(len(extension.sources) for extension in extensions)
    work = f"{files} files for {', '.join(spec.architectures)}, {spec.jobs} at once"
    return f"compiling {work}: about {core / spec.jobs:.0f} minutes, once"


def compile_extension(
    extension: Spec, work: Path, spec: BuildSpec, tools: Toolchain, say: Say
) -> Path:
    """Compile an extension and return its module; files that are compiled already are kept.

    Raises:
        EngineUnavailable: The extension could not be compiled; the message names the log.
    """
    folder, log = work / extension.name, work / f"{extension.name}.log"
    say(f"{extension.name}: see {log}")
    env = tools.environment(list(spec.architectures), spec.jobs)
    env["PYTHONPATH"] = os.pathsep.join(
        [str(_INSTALLED_IN), *filter(None, [env.get("PYTHONPATH")])]
    )
    argv = [sys.executable, "-P", "-m", "forebay.workers.engines.gpu.compile", str(folder)]
    with log.open("wb") as file:
        done = subprocess.run(  # noqa: S603 - our own module
            argv, input=extension.dumps().encode(), env=env, stdout=file, stderr=file, check=False
        )
    module = folder / f"{extension.name}.so"
    if done.returncode or not module.exists():
        raise EngineUnavailable(
            f"{extension.name} could not be compiled (exit code {done.returncode}); read {log}, "
            "fix what it reports, and run the same command again: compiled files are kept"
        )
    return module


def _install(target: Path, modules: Sequence[Path], flash: Path | None, spec: BuildSpec) -> None:
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    for module in modules:
        shutil.copy2(module, fresh / module.name)
    if flash is not None:
        flash_attn_trim.copy_package(flash, fresh)
    prebuilt.write_manifest(fresh, list(spec.architectures), spec.parts)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _is_built(target: Path, spec: BuildSpec) -> bool:
    built = prebuilt.architectures(target)
    return (
        built is not None
        and set(spec.architectures) <= set(built)
        and prebuilt.parts(target) == spec.parts
    )


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineUnavailable(f"another build runs in {root}; wait for it to end") from None
        yield
