"""The folders in which `forebay gpu build` puts compiled modules, and the manifest in each.

There is one folder for each version of torch, CUDA and Python. A module for other versions does not
load; so after an upgrade the module is missing, which is easier to see than an undefined symbol.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

_MANIFEST = "built.json"
#: The end of the version of a part that serves dense models alone.
DENSE = " dense"


def root() -> Path:
    """Return the folder of all builds: `FOREBAY_GPU`, or one in the user's data."""
    named = os.environ.get("FOREBAY_GPU")
    return Path(named) if named else Path.home() / ".local/share/forebay/gpu"


def folder(torch_version: str, cuda: str) -> Path:
    """Return the folder for a torch (`2.11.0+cu130`), a CUDA (`13.0`) and the running Python."""
    minor = ".".join(torch_version.partition("+")[0].split(".")[:2])
    python = f"{sys.version_info.major}{sys.version_info.minor}"
    return root() / f"torch{minor}-cu{cuda}-cp{python}"


def on_path(place: Path) -> None:
    """Let imports find the modules of a folder before installed ones."""
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))


def architectures(place: Path) -> list[str] | None:
    """Return the compute capabilities of a build, such as `8.9`; `None` without a manifest."""
    names = _manifest(place).get("architectures")
    return None if names is None else list(names)


def parts(place: Path) -> dict[str, str]:
    """Return the parts of a build with their versions; empty without a manifest."""
    return dict(_manifest(place).get("parts", {}))


def _manifest(place: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((place / _MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def write_manifest(place: Path, architectures: list[str], parts: dict[str, str]) -> None:
    """Write which architectures were built, and each part with its version."""
    manifest = {"architectures": architectures, "parts": parts}
    (place / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def serves(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Return whether code for these runs on a GPU: the same major version, no newer minor."""
    major, minor = capability
    built = [tuple(int(part) for part in name.split(".")) for name in architectures]
    return any(version[0] == major and version[1] <= minor for version in built)
