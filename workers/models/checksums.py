"""The SHA-256 that a model was downloaded under, kept beside it as `sha256sum -c` reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex, from its bytes as they are now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_file(model: Path) -> Path:
    """Return where the checksums of a model lie: beside a file, or hidden in a folder."""
    return model / ".sha256" if model.is_dir() else model.with_name(f"{model.name}.sha256")


def write_checksums(path: Path, files: dict[str, str]) -> None:
    """Write the SHA-256 of files by name."""
    path.write_text("".join(f"{digest}  {name}\n" for name, digest in files.items()))


def read_checksums(path: Path) -> dict[str, str]:
    """Return the SHA-256 of files by name.

    Raises:
        OSError: There is no such file.
        ValueError: The file is not as `write_checksums` writes it.
    """
    lines = [line.split("  ", 1) for line in path.read_text().splitlines()]
    return {name: digest for digest, name in lines}


def is_intact(model: Path, expected: dict[str, str] | None = None) -> bool:
    """Return whether all files have the SHA-256 of `expected`, or else of their download."""
    try:
        files = expected or read_checksums(checksum_file(model))
        folder = model if model.is_dir() else model.parent
        return bool(files) and all(sha256(folder / name) == files[name] for name in files)
    except (OSError, ValueError):
        return False
