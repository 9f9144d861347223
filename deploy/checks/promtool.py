"""Find promtool, which comes with Prometheus.

If it is not installed, it is unpacked from Debian's package `prometheus` into `.cache/promtool`,
without installing anything.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

UNPACKED = Path(__file__).resolve().parents[2] / ".cache" / "promtool" / "promtool"
MISSING = (
    "promtool is missing: install Prometheus (apt-get install prometheus), or put promtool on PATH"
)


class PromtoolMissing(Exception):
    """promtool is neither installed nor to be had; the message says what to do."""


def find() -> str:
    """Return the path of promtool; unpack it from Debian's package if it is not installed.

    Raises:
        PromtoolMissing: It is neither installed nor to be had.
    """
    if installed := shutil.which("promtool"):
        return installed
    if not UNPACKED.exists():
        _unpack()
    return str(UNPACKED)


def _unpack() -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PromtoolMissing(MISSING)
    with tempfile.TemporaryDirectory() as folder:
        fetched = subprocess.run(
            ["apt-get", "download", "--quiet", "prometheus"],  # noqa: S607 - Debian's own
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        packages = list(Path(folder).glob("prometheus_*.deb"))
        if fetched.returncode or not packages:
            raise PromtoolMissing(f"{MISSING}\n{fetched.stderr.strip()}")
        unpack = ["dpkg-deb", "--extract", str(packages[0]), folder]
        subprocess.run(unpack, check=True)  # noqa: S603 - arguments of our own
        UNPACKED.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(folder) / "usr" / "bin" / "promtool", UNPACKED)
