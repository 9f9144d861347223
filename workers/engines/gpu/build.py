"""exllamav2's extension and flash-attn, compiled once, ahead of time, into a folder of their own.

1. All that could be wrong is looked at first (`toolchain`).
2. One build at a time; what was compiled before a build broke off is kept for the next.
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
_EXTENSION_MINUTES = 10.0  # of one core, for one architecture: 19.5 measured for two
_INSTALLED_IN = Path(forebay.__file__).resolve().parents[1]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What to build.

    Attributes:
        architectures: compute capabilities, as `8.9`.
        jobs: compilers at once.
        head_sizes: of flash-attn; none leaves it out (FOREBAY_ATTENTION=torch).
        sdist: flash-attn's source; None fetches it.
        again: also where the same was built before.
    """

    architectures: tuple[str, ...]
    jobs: int
    head_sizes: tuple[int, ...] = flash_attn_trim.HEAD_SIZES
    sdist: Path | None = None
    again: bool = False

    @property
    def parts(self) -> dict[str, str]:
        """As the manifest names them."""
        sizes = ",".join(map(str, self.head_sizes))
        flash = {"flash-attn": f"{flash_attn_trim.VERSION} heads {sizes}"} if sizes else {}
        return {"exllamav2": EXLLAMAV2, **flash}


def build(order: BuildSpec, tools: Toolchain, say: Say) -> Path:
    """Build what is not there yet; return its folder.

    Raises:
        EngineUnavailable: It could not be compiled; with the log to read.
    """
    target = prebuilt.folder(tools.torch, tools.cuda)
    toolchain.need_disk(target)
    source = exllamav2_source()
    with _alone(target.parent):
        if not order.again and _is_there(target, order):
            say(f"already built: {target}")
            return target
        work = target.with_name(f".{target.name}.work")
        work.mkdir(exist_ok=True)
        specs = [extension_spec(source, tools.standard)]
        flash = None
        if order.head_sizes:
            flash = flash_attn_trim.unpack(
                flash_attn_trim.sdist(order.sdist, work), work, order.head_sizes
            )
            specs.append(flash_attn_trim.spec(flash, order.head_sizes, tools.standard))
        say(estimate(specs, order))
        made = [compiled(spec, work, order, tools, say) for spec in specs]
        _put(target, made, flash, order)
        shutil.rmtree(work)
    return target


def exllamav2_source() -> Path:
    """The folder of the installed exllamav2, in the pinned version; it is not imported."""
    try:
        found = version("exllamav2")
    except PackageNotFoundError:
        found = "none"
    if found != EXLLAMAV2:
        mend = f"pip install --no-deps exllamav2=={EXLLAMAV2}"
        raise EngineUnavailable(f"exllamav2 {EXLLAMAV2} is needed, {found} is installed; {mend}")
    spec = find_spec("exllamav2")
    assert spec is not None
    return Path(str(spec.origin)).parent


def extension_spec(source: Path, standard: str) -> Spec:
    """What exllamav2 would compile on import: its list of files is read from its own code."""
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
        nvcc=("-lineinfo", "-O3", standard),
        cpu_minutes=_EXTENSION_MINUTES,
    )


def estimate(specs: Sequence[Spec], order: BuildSpec) -> str:
    """How long it will take, from what it took elsewhere."""
    core = sum(spec.cpu_minutes for spec in specs) * len(order.architectures)
    files = sum(len(spec.sources) for spec in specs)
    what = f"{files} files for {', '.join(order.architectures)}, {order.jobs} at once"
    return f"compiling {what}: about {core / order.jobs:.0f} minutes, once"


def compiled(spec: Spec, work: Path, order: BuildSpec, tools: Toolchain, say: Say) -> Path:
    """One extension; what is compiled already is not compiled again."""
    folder, log = work / spec.name, work / f"{spec.name}.log"
    say(f"{spec.name}: see {log}")
    env = tools.environment(list(order.architectures), order.jobs)
    env["PYTHONPATH"] = os.pathsep.join(
        [str(_INSTALLED_IN), *filter(None, [env.get("PYTHONPATH")])]
    )
    argv = [sys.executable, "-P", "-m", "forebay.workers.engines.gpu.compile", str(folder)]
    with log.open("wb") as file:
        done = subprocess.run(  # noqa: S603 - ourselves
            argv, input=spec.dumps().encode(), env=env, stdout=file, stderr=file, check=False
        )
    made = folder / f"{spec.name}.so"
    if done.returncode or not made.exists():
        raise EngineUnavailable(
            f"{spec.name} could not be compiled (exit code {done.returncode}); read {log}, "
            "mend what it says, and run it again: what is done already is kept"
        )
    return made


def _put(target: Path, made: Sequence[Path], flash: Path | None, order: BuildSpec) -> None:
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir()
    for file in made:
        shutil.copy2(file, fresh / file.name)
    if flash is not None:
        flash_attn_trim.lay(flash, fresh)
    prebuilt.sign(fresh, list(order.architectures), order.parts)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _is_there(target: Path, order: BuildSpec) -> bool:
    there = prebuilt.architectures(target)
    return (
        there is not None
        and set(order.architectures) <= set(there)
        and prebuilt.parts(target) == order.parts
    )


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineUnavailable(f"another build runs in {root}; wait for it to end") from None
        yield
