"""Where `forebay gpu build` puts what it compiled, and what is known of it.

One folder for each torch, CUDA and Python: an extension that was built for others does not load, so
after an upgrade there is plainly none, instead of an undefined symbol.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

_MANIFEST = "built.json"


def root() -> Path:
    """The folder of all builds: `FOREBAY_GPU`, or one in the user's data."""
    named = os.environ.get("FOREBAY_GPU")
    return Path(named) if named else Path.home() / ".local/share/forebay/gpu"


def folder(torch_version: str, cuda: str) -> Path:
    """The build for this torch (`2.11.0+cu130`), this CUDA (`13.0`) and the Python that runs."""
    minor = ".".join(torch_version.partition("+")[0].split(".")[:2])
    python = f"{sys.version_info.major}{sys.version_info.minor}"
    return root() / f"torch{minor}-cu{cuda}-cp{python}"


def on_path(place: Path) -> None:
    """Have imports find what lies there before what is installed."""
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))


def architectures(place: Path) -> list[str] | None:
    """Compute capabilities that it was built for, as `8.9`; None where it does not say."""
    said = _manifest(place).get("architectures")
    return None if said is None else list(said)


def parts(place: Path) -> dict[str, str]:
    """What was built there, with versions; empty where it does not say."""
    return dict(_manifest(place).get("parts", {}))


def _manifest(place: Path) -> dict[str, Any]:
    try:
        said = json.loads((place / _MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def sign(place: Path, architectures: list[str], parts: dict[str, str]) -> None:
    """Write what was built: the architectures, and each part with its version."""
    manifest = {"architectures": architectures, "parts": parts}
    (place / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def serves(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Whether machine code for these runs on it: the same major version, no newer minor one."""
    major, minor = capability
    built = [tuple(int(part) for part in each.split(".")) for each in architectures]
    return any(one[0] == major and one[1] <= minor for one in built)
