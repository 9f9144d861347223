"""The digests that name weights in every answer: of a file, and of a model folder's files."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from forebay.routing.errors import Misconfigured

_SHA256 = re.compile(r"[0-9a-f]{64}")
SHORT_DIGEST_CHARS = 12


def revision(path: Path) -> str:
    """Return the first 12 hex digits of the digest of a file, or of a model folder.

    Raises:
        Misconfigured: A folder holds no files, or one of them cannot be read.
    """
    return (folder_digest(path) if path.is_dir() else digest(path))[:SHORT_DIGEST_CHARS]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex, from a cache if the file seems unchanged.

    Reading takes about 0.1 s for 100 MB and a minute for the largest models, at every start and
    restart. So the digest is cached in the user's cache directory, by path, size and time of
    change. Callers that must not trust the cache call `fresh_digest`.
    """
    cache = _cache_path(path)
    try:
        cached = cache.read_text(encoding="ascii")
        if _SHA256.fullmatch(cached):
            return cached
    except (OSError, UnicodeDecodeError):
        pass
    return fresh_digest(path)


def fresh_digest(path: Path) -> str:
    """Return the SHA-256 of a file from its bytes as they are now, and cache it."""
    cache = _cache_path(path)  # before reading: a file that changes meanwhile has another one then
    with path.open("rb") as file:
        value = hashlib.file_digest(file, "sha256").hexdigest()
    _write_cache(cache, value)
    return value


def file_digests(folder: Path, *, fresh: bool = False) -> dict[str, str]:
    """Return the SHA-256 of each file of a model folder, sorted by name.

    Hidden files and folders inside are left out: engines do not read them.

    Raises:
        Misconfigured: The folder holds no files, or one of them cannot be read.
    """
    digest_of = fresh_digest if fresh else digest
    try:
        files = sorted(
            (file for file in folder.iterdir() if file.is_file() and file.name[0] != "."),
            key=lambda file: file.name.encode(),
        )
        digests = {file.name: digest_of(file) for file in files}
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise Misconfigured(message, field=str(error.filename or folder)) from None
    if not digests:
        raise Misconfigured("holds no files", field=str(folder))
    return digests


def folder_digest(folder: Path, *, fresh: bool = False) -> str:
    """Return the SHA-256 of a model folder: `LC_ALL=C; cd FOLDER; sha256sum * | sha256sum`.

    Raises:
        Misconfigured: The folder holds no files, or one of them cannot be read.
    """
    return combined_digest(file_digests(folder, fresh=fresh))


def combined_digest(files: dict[str, str]) -> str:
    """Return the SHA-256 over the digests of files, as `sha256sum` prints them."""
    lines = "".join(f"{value}  {name}\n" for name, value in files.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _cache_path(path: Path) -> Path:
    """Return where the digest of this file, as it is now, is cached."""
    status = path.stat()
    key = f"{path.absolute()}\0{status.st_mtime_ns}\0{status.st_size}"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "forebay" / "digests" / hashlib.sha256(os.fsencode(key)).hexdigest()[:32]


def _write_cache(path: Path, value: str) -> None:
    """Write a digest, as a whole or not at all. A cache that cannot be written only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", dir=path.parent, delete=False
        ) as file:
            file.write(value)
        Path(file.name).replace(path)
    except OSError:
        pass
