"""The digests that name weights in every answer: of a file, and of a model folder's files."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from forebay.routing.errors import Misconfigured

_HEX = re.compile(r"[0-9a-f]{64}")
SHORT_DIGEST_CHARS = 12


def revision(path: Path) -> str:
    """The first 12 hex digits of the digest of a file, or of a model folder.

    Raises:
        Misconfigured: A folder holds no files, or one of them cannot be read.
    """
    return (folder_digest(path) if path.is_dir() else digest(path))[:SHORT_DIGEST_CHARS]


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex.

    Reading takes about 0.1 s for 100 MB and a minute for the largest models, at every start and
    restart; so the digest is kept in the user's cache directory as long as path, size and time of
    change are the same. What must not trust that calls `fresh_digest`.
    """
    kept = _kept(path)
    try:
        found = kept.read_text(encoding="ascii")
        if _HEX.fullmatch(found):
            return found
    except (OSError, UnicodeDecodeError):
        pass
    return fresh_digest(path)


def fresh_digest(path: Path) -> str:
    """The same, from the file's bytes as they are now."""
    kept = _kept(path)  # before reading: a file that changes meanwhile has another name then
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _keep(kept, found)
    return found


def file_digests(folder: Path, *, fresh: bool = False) -> dict[str, str]:
    """The SHA-256 of each file of a model folder by name, sorted; hidden files and folders aside.

    Engines read nothing else: what lies in folders beneath is other formats, or somebody's notes.

    Raises:
        Misconfigured: There are none, or one cannot be read.
    """
    take = fresh_digest if fresh else digest
    try:
        files = sorted(
            (file for file in folder.iterdir() if file.is_file() and file.name[0] != "."),
            key=lambda file: file.name.encode(),
        )
        found = {file.name: take(file) for file in files}
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise Misconfigured(message, field=str(error.filename or folder)) from None
    if not found:
        raise Misconfigured("holds no files", field=str(folder))
    return found


def folder_digest(folder: Path, *, fresh: bool = False) -> str:
    """One SHA-256 for a model folder, in hex: `LC_ALL=C; cd FOLDER; sha256sum * | sha256sum`.

    Raises:
        Misconfigured: The folder holds no files, or one of them cannot be read.
    """
    return combined(file_digests(folder, fresh=fresh))


def combined(files: dict[str, str]) -> str:
    """The SHA-256 over the digests of files, as `sha256sum` prints them."""
    lines = "".join(f"{found}  {name}\n" for name, found in files.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _kept(path: Path) -> Path:
    """Where the digest of this file, as it is now, is kept."""
    status = path.stat()
    key = f"{path.absolute()}\0{status.st_mtime_ns}\0{status.st_size}"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "forebay" / "digests" / hashlib.sha256(os.fsencode(key)).hexdigest()[:32]


def _keep(path: Path, digest: str) -> None:
    """Write as a whole or not at all; without a cache everything works, only slower."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", dir=path.parent, delete=False
        ) as file:
            file.write(digest)
        Path(file.name).replace(path)
    except OSError:
        pass
