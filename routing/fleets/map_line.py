"""Writes the line of a tenant in the file of the map, and leaves everything else as it is."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from forebay.routing.errors import Misconfigured
from forebay.routing.fleets.fleet_map import VARIABLE

_HEADER = re.compile(r"\s*\[")
_TENANTS = re.compile(r"\s*\[\s*tenants\s*\]\s*(#.*)?")


def line_of(tenant: str, places: Sequence[str]) -> str:
    """Return the line that says in which fleets a tenant is."""
    names = ", ".join(f'"{name}"' for name in places)
    return f"{tenant} = {names}" if len(places) == 1 else f"{tenant} = [{names}]"


def write(path: Path, tenant: str, places: Sequence[str]) -> None:
    """Write the line of a tenant, in one step.

    Raises:
        Misconfigured: The file cannot be written here; the error has the line to write by hand.
    """
    line, real = line_of(tenant, places), path.resolve()
    try:
        text = real.read_text("utf-8")
        changed = _with_line(text, tenant, line)
        if changed is None:
            raise _by_hand(line, "has the tenant in a form that is not rewritten")
        _replace(real, changed)
    except OSError as error:
        raise _by_hand(line, f"cannot be written here ({error.strerror})") from None


def _by_hand(line: str, why: str) -> Misconfigured:
    return Misconfigured(
        f"the map {why}: write the line `{line}` under [tenants] yourself, on all machines, and "
        "run the command again",
        field=VARIABLE,
    )


def _with_line(text: str, tenant: str, line: str) -> str | None:
    """Return the text with the line; `None` if that would not be the map that is meant."""
    lines = text.splitlines()
    header = next((at for at, each in enumerate(lines) if _TENANTS.fullmatch(each)), None)
    if header is None:
        changed = [*lines, "", "[tenants]", line]
    else:
        own = re.compile(rf'\s*"?{re.escape(tenant)}"?\s*=')
        end = next(
            (at for at in range(header + 1, len(lines)) if _HEADER.match(lines[at])), len(lines)
        )
        at = next((at for at in range(header + 1, end) if own.match(lines[at])), None)
        rest = header + 1 if at is None else at + 1
        changed = [*lines[: rest if at is None else at], line, *lines[rest:]]
    whole = "\n".join(changed) + "\n"
    return whole if _means(whole, text, line) else None


def _means(changed: str, before: str, line: str) -> bool:
    """Return whether the new text is the old map with this line, and nothing else."""
    try:
        new, old = tomllib.loads(changed), tomllib.loads(before)
    except tomllib.TOMLDecodeError:
        return False
    return new == {**old, "tenants": {**old.get("tenants", {}), **tomllib.loads(line)}}


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(path.stat().st_mode & 0o777)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
