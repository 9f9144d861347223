"""The archives that `make gpu-wheels` packs and a GPU machine unpacks, in parts.

A part is called `NAME-2of3.part`, so a machine that has not all parts of an archive can say which
are missing, and can work with the other archives.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import shutil
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

MAX_PART_BYTES = 52 << 20  # with this repository beside it, less than 64 MiB
_DIGEST_BYTES = hashlib.sha256().digest_size
#: The archives in the order of their transfer. The first is enough for random models; the others
#: hold the packaged model, exllamav3 if it was compiled, and the sentence encoder.
NAMES = ("kernels", "models", "exl3", "encoder")
_OPTIONAL = "exl3"
_PART = re.compile(r"(\w+)-(\d+)of(\d+)\.part")


def pack(
    name: str, files: Iterable[tuple[Path, str]], parts: Path, *, compress: bool = True
) -> list[Path]:
    """Pack files under the given names, and return the parts of the archive."""
    archive = parts / f"{name}.tar"
    # Weights do not shrink further, and would take minutes.
    with tarfile.open(archive, "w:xz" if compress else "w") as tar:
        for file, inside in files:
            tar.add(file, inside)
    made = split(archive, parts)
    archive.unlink()
    return made


def split(archive: Path, parts: Path) -> list[Path]:
    """Cut a file into parts that end with their own digest, and return them in order."""
    size = archive.stat().st_size
    count = -(-size // (MAX_PART_BYTES - _DIGEST_BYTES))
    each = -(-size // count)
    made = []
    with archive.open("rb") as whole:
        for number in range(1, count + 1):
            part = parts / f"{archive.stem}-{number}of{count}.part"
            content = whole.read(each)
            part.write_bytes(content + hashlib.sha256(content).digest())
            made.append(part)
    return made


def receive(part: Path, parts: Path) -> None:
    """Keep a whole part, and delete older parts of the same archive that do not belong to it."""
    match = _PART.fullmatch(part.name)
    if match is None:
        sys.exit(f"{part}: a part is called NAME-1of2.part, as `make gpu-wheels` calls it")
    content(part)
    parts.mkdir(parents=True, exist_ok=True)
    for old in parts.glob(f"{match[1]}-*of*.part"):
        if not old.name.endswith(f"of{match[3]}.part"):
            old.unlink()
    shutil.copy2(part, parts)


def unpack(folders: Iterable[Path], home: Path) -> dict[str, str]:
    """Unpack every complete archive; return what is wrong with each of the others.

    Args:
        folders: where parts may lie; of two versions of an archive, the later folder counts.
        home: the folder to unpack into.
    """
    found = _found(folders)
    wrong = {}
    for name in (each for each in NAMES if each in found or each != _OPTIONAL):
        count, parts = found.get(name, (1, {}))
        missing = sorted(set(range(1, count + 1)) - parts.keys())
        if missing:
            wrong[name] = f"missing: {', '.join(f'{name}-{n}of{count}.part' for n in missing)}"
        else:
            try:
                _unpack_once(name, [parts[n] for n in sorted(parts)], home)
            except (Damaged, OSError, tarfile.TarError, lzma.LZMAError, EOFError) as error:
                wrong[name] = f"cannot be unpacked: {error}"  # the others may still be of use
    return wrong


class Damaged(Exception):
    """A part is not as it was packed."""


def content(part: Path) -> bytes:
    """Return the content of a part.

    Raises:
        Damaged: The part was cut off or changed on its way.
    """
    whole = part.read_bytes()
    inside, digest = whole[:-_DIGEST_BYTES], whole[-_DIGEST_BYTES:]
    if hashlib.sha256(inside).digest() != digest:
        raise Damaged(f"{part.name} is damaged; copy it again")
    return inside


def _unpack_once(name: str, parts: list[Path], home: Path) -> None:
    """Unpack an archive, unless these parts were unpacked before: a second run has little time."""
    stamp = home / f"{name}.unpacked"
    states = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    if not stamp.exists() or stamp.read_text() != repr(states):
        _extract(parts, home)
        stamp.write_text(repr(states))


def _found(folders: Iterable[Path]) -> dict[str, tuple[int, dict[int, Path]]]:
    """Return how many parts each archive has, and those that are here."""
    found: dict[str, tuple[int, dict[int, Path]]] = {}
    for part in (part for folder in folders for part in sorted(folder.glob("*.part"))):
        if match := _PART.fullmatch(part.name):
            name, number, count = match[1], int(match[2]), int(match[3])
            if found.get(name, (0, {}))[0] != count:
                found[name] = (count, {})
            found[name][1][number] = part
    return found


def _extract(parts: list[Path], home: Path) -> None:
    whole = io.BytesIO(b"".join(content(part) for part in parts))
    with tarfile.open(fileobj=whole) as tar:
        # Some releases of Python 3.11 have no filters; the archive is our own.
        tar.extractall(home, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
