"""Compile the kernels of the GPU engines once, ahead of time, into a folder of their own.

1. Everything that could fail is checked first (`toolchain`).
2. Only one build runs at a time; an interrupted build keeps what is compiled for the next.
3. The folder appears whole, by renaming, or not at all: a worker never sees half of it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import forebay
from forebay.routing.errors import EngineUnavailable
from forebay.workers.engines.gpu import (
    experts_trim,
    extensions,
    flash_attn_trim,
    prebuilt,
    toolchain,
)
from forebay.workers.engines.gpu.compile import Spec
from forebay.workers.engines.gpu.toolchain import Toolchain

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
        exl3: build exllamav3's extension too, for `dense` models or `all`.
        again: build even if the same was built before.
    """

    architectures: tuple[str, ...]
    jobs: int
    head_sizes: tuple[int, ...] = flash_attn_trim.HEAD_SIZES
    sdist: Path | None = None
    exl3: Literal["no", "dense", "all"] = "no"
    again: bool = False

    @property
    def parts(self) -> dict[str, str]:
        """The parts with their versions, as in the manifest."""
        sizes = ",".join(map(str, self.head_sizes))
        flash = {"flash-attn": f"{flash_attn_trim.VERSION} heads {sizes}"} if sizes else {}
        exl3 = {
            "no": {},
            "dense": {"exllamav3": f"{extensions.EXLLAMAV3}{prebuilt.DENSE}"},
            "all": {"exllamav3": extensions.EXLLAMAV3},
        }
        return {"exllamav2": extensions.EXLLAMAV2, **flash, **exl3[self.exl3]}


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
    with _locked(target.parent):
        lacks = _lacking(target, spec)
        if not lacks:
            say(f"already built: {target}")
            return target
        work = target.with_name(f".{target.name}.work")
        work.mkdir(exist_ok=True)
        own = _own_extensions(spec, tools, work)
        wanted = [extension for part, extension in own.items() if part in lacks]
        flash = None
        if "flash-attn" in lacks:
            archive = flash_attn_trim.sdist(spec.sdist, work)
            flash = flash_attn_trim.unpack(archive, work, spec.head_sizes)
            wanted.append(flash_attn_trim.spec(flash, spec.head_sizes, tools.standard))
        say(estimate(wanted, spec))
        modules = [compile_extension(extension, work, spec, tools, say) for extension in wanted]
        built = {part: spec.parts[part] for part in lacks}
        _install(target, modules, flash, spec.architectures, built)
        shutil.rmtree(work)
    return target


def _own_extensions(spec: BuildSpec, tools: Toolchain, work: Path) -> dict[str, Spec]:
    """Return the extensions of the engines' own libraries, by part."""
    own = {"exllamav2": extensions.exllamav2(tools)}
    if spec.exl3 != "no":
        own["exllamav3"] = extensions.exllamav3(tools)
    if spec.exl3 == "dense":
        own["exllamav3"] = experts_trim.trimmed(own["exllamav3"], work)
    return own


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


def _lacking(target: Path, spec: BuildSpec) -> set[str]:
    """Return the parts to build: those that are not there, or all if any is for other GPUs."""
    built = prebuilt.architectures(target)
    if spec.again or built is None or not set(spec.architectures) <= set(built):
        return set(spec.parts)
    there = prebuilt.parts(target)
    lacks = {part for part, wanted in spec.parts.items() if not _serves(there.get(part), wanted)}
    return set(spec.parts) if lacks and set(spec.architectures) != set(built) else lacks


def _serves(made: str | None, wanted: str) -> bool:
    """Return whether a part is the wanted one; all of exllamav3 serves dense models too."""
    return made is not None and made in (wanted, wanted.removesuffix(prebuilt.DENSE))


def _install(
    target: Path,
    modules: Sequence[Path],
    flash: Path | None,
    architectures: Sequence[str],
    built: dict[str, str],
) -> None:
    """Put the modules in the place of the old ones; parts that were not built anew are kept."""
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    kept = set(prebuilt.architectures(target) or ()) == set(architectures)
    parts = {**(prebuilt.parts(target) if kept else {}), **built}
    if kept:
        shutil.copytree(target, fresh)
    else:
        fresh.mkdir()
    for module in modules:
        shutil.copy2(module, fresh / module.name)
    if flash is not None:
        flash_attn_trim.copy_package(flash, fresh)
    prebuilt.write_manifest(fresh, list(architectures), parts)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineUnavailable(f"another build runs in {root}; wait for it to end") from None
        yield
