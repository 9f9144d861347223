"""Find Prometheus and promtool, which comes with it.

If they are not installed, they are unpacked from Debian's package `prometheus` into
`.cache/promtool`, without installing anything.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

Tool = Literal["promtool", "prometheus"]

UNPACKED = Path(__file__).resolve().parents[2] / ".cache" / "promtool"
MISSING = "is missing: install Prometheus (apt-get install prometheus), or put it on PATH"


class PromtoolMissing(Exception):
    """A tool is neither installed nor to be had; the message says what to do."""


def find(tool: Tool = "promtool") -> str:
    """Return the path of a tool; unpack it from Debian's package if it is not installed.

    Raises:
        PromtoolMissing: It is neither installed nor to be had.
    """
    if installed := shutil.which(tool):
        return installed
    if not (UNPACKED / tool).exists():
        _unpack(tool)
    return str(UNPACKED / tool)


def _unpack(tool: Tool) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PromtoolMissing(f"{tool} {MISSING}")
    with tempfile.TemporaryDirectory() as folder:
        fetched = subprocess.run(
            ["apt-get", "download", "--quiet", "prometheus"],  # noqa: S607 - Debian's own
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        packages = list(Path(folder).glob("prometheus_*.deb"))
        if fetched.returncode or not packages:
            raise PromtoolMissing(f"{tool} {MISSING}\n{fetched.stderr.strip()}")
        unpack = ["dpkg-deb", "--extract", str(packages[0]), folder]
        subprocess.run(unpack, check=True)  # noqa: S603 - arguments of our own
        UNPACKED.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(folder) / "usr" / "bin" / tool, UNPACKED / tool)
