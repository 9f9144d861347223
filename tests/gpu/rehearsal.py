"""Rehearse the minutes on a GPU machine here: `make gpu-rehearsal`, after `make gpu-wheels`.

As there, the repository is copied into an empty folder, the parts arrive in transfers of limited
size, and nothing can be fetched. Python and torch are those of the environment that compiled the
kernels (GPU_PYTHON names others). The results are in the folder `rehearsal` of GPU_WHEELS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import archives
from wheels import HOME, ROOT

#: Of a transfer, with the repository in it.
_MAX_BYTES = 64 << 20
#: Of what comes back from the machine.
_MAX_FILES, _MAX_FILE_BYTES = 8, 16 << 20
#: Linux's way to have no network but this machine itself.
_ALONE = ("unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "alone")


def main() -> None:
    """Copy the repository, receive the parts, and run the pieces that need no GPU."""
    place = HOME / "rehearsal"
    shutil.rmtree(place, ignore_errors=True)
    tree, out = place / "tree", place / "results"
    out.mkdir(parents=True)
    size = copied(tree)
    parts = sorted((HOME / "parts").glob("*.part"), key=order)
    for number, batch in enumerate(transfers(parts, size), start=1):
        carried = tree / ".gpu/parts"
        shutil.rmtree(carried, ignore_errors=True)
        carried.mkdir(parents=True)
        for part in batch:
            shutil.copy2(part, carried)
        total = size + sum(part.stat().st_size for part in batch)
        print(f"transfer {number}: {total / 2**20:.0f} MiB, {', '.join(p.name for p in batch)}")
        run(tree, place, "receive", *(f".gpu/parts/{part.name}" for part in batch))
    code = run(tree, place, "ten-minutes", "--rehearse", "--out", str(out), *sys.argv[1:])
    returned(out)
    sys.exit(code)


def order(part: Path) -> tuple[int, str]:
    """Return the place of a part among all: those worth most first."""
    return archives.NAMES.index(part.name.partition("-")[0]), part.name


def copied(tree: Path) -> int:
    """Copy the files of the repository, and return their bytes."""
    ask = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    size = 0
    for name in filter(None, names.split("\0")):
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
        size += target.lstat().st_size
    return size


def transfers(parts: Sequence[Path], beside: int) -> list[list[Path]]:
    """Return the parts of each transfer: in order, but a later part fills the room of an earlier.

    Args:
        parts: in the order of their worth.
        beside: the bytes of the repository, which each transfer has.
    """
    batches: list[list[Path]] = []
    rooms: list[int] = []
    for part in parts:
        size = part.stat().st_size
        if size + beside > _MAX_BYTES:
            sys.exit(f"{part.name} and the repository are more than {_MAX_BYTES >> 20} MiB")
        at = next((at for at, room in enumerate(rooms) if room >= size), len(rooms))
        if at == len(rooms):
            batches.append([])
            rooms.append(_MAX_BYTES - beside)
        batches[at].append(part)
        rooms[at] -= size
    return batches


def run(tree: Path, place: Path, *words: str) -> int:
    """Run the program of a GPU machine on what is there, without a network."""
    env = {
        **{name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ},
        "HOME": "/nonexistent",  # a machine's own may be read-only
        "FOREBAY_GPU_HOME": str(place / "home"),
    }
    argv = [*_ALONE, python(), "tests/gpu/run.py", *words]
    return subprocess.run(argv, cwd=tree, env=env, check=False).returncode


def python() -> str:
    """Return the Python of the machine."""
    if named := os.environ.get("GPU_PYTHON"):
        return named
    for complete in sorted(HOME.glob("machine-*/complete")):
        return str(complete.with_name("bin") / "python")
    sys.exit(f"no environment in {HOME}: run make gpu-wheels first, or set GPU_PYTHON")


def returned(out: Path) -> None:
    """Exit if the results are more than comes back."""
    files = [file for file in out.rglob("*") if file.is_file()]
    large = [file.name for file in files if file.stat().st_size > _MAX_FILE_BYTES]
    print(f"{len(files)} files of results in {out}")
    if len(files) > _MAX_FILES or large:
        sys.exit(f"only {_MAX_FILES} files of {_MAX_FILE_BYTES >> 20} MiB come back: {large}")


if __name__ == "__main__":
    main()
