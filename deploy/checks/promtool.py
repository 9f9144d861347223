"""Check and test the Prometheus rules with the real promtool.

promtool comes with Prometheus. If it is not installed, it is unpacked from Debian's package
`prometheus` into `.cache/promtool`, without installing anything.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus"
UNPACKED = ROOT / ".cache" / "promtool"
MISSING = (
    "promtool is missing: install Prometheus (apt-get install prometheus), or put promtool on PATH"
)


def find() -> str:
    """Return the path of promtool; unpack it from Debian's package if it is not installed.

    Raises:
        SystemExit: It is neither installed nor to be had.
    """
    if installed := shutil.which("promtool"):
        return installed
    program = UNPACKED / "promtool"
    if not program.exists():
        _unpack(program)
    return str(program)


def _unpack(program: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as folder:
        fetched = subprocess.run(
            ["apt-get", "download", "--quiet", "prometheus"],  # noqa: S607 - Debian's own
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        packages = list(Path(folder).glob("prometheus_*.deb"))
        if fetched.returncode or not packages:
            raise SystemExit(f"{MISSING}\n{fetched.stderr.strip()}")
        unpack = ["dpkg-deb", "--extract", str(packages[0]), folder]
        subprocess.run(unpack, check=True)  # noqa: S603 - arguments of our own
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(folder) / "usr" / "bin" / "promtool", program)


def main() -> int:
    """Check the configuration and the rules, and run the tests of the rules."""
    program = find()
    for words in (
        ["check", "config", "prometheus.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ):
        command = [program, *words]
        if code := subprocess.run(command, cwd=RULES, check=False).returncode:  # noqa: S603 - ours
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
