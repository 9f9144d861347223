"""Checks that files can be written, before the work of minutes that makes them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from forebay.routing.errors import Misconfigured


def require_writable(folder: Path, field: str) -> None:
    """Create the folder if it is missing, and check that files can be written to it.

    Raises:
        Misconfigured: They cannot. The error names `field`, the option or file at fault.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(error, field) from None


def unwritable(error: OSError, field: str) -> Misconfigured:
    """Return the error of a file that cannot be written, with the reason."""
    why = (
        "a file has the name of the folder"
        if isinstance(error, FileExistsError)
        else error.strerror
    )
    return Misconfigured(f"cannot be written: {why}", field=field)
