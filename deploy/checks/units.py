"""The systemd units, by systemd itself, as `make install-systemd` lays them out."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from checks.tools import Problem, run

SYSTEM = Path("/usr/lib/systemd/system")  # the units that ours refer to
MAX_EXPOSURE = 20  # in tenths, of 100: what `systemd-analyze security` calls OK
_PROGRAM = re.compile(r"^ExecStart=(\S+)", re.MULTILINE)


def check(deploy: Path) -> Iterator[Problem]:
    """Yield what systemd has against the units. Without systemd, say so in a problem."""
    if not shutil.which("systemd-analyze"):
        yield Problem("systemd", "systemd-analyze is not here: apt-get install systemd")
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = stage(deploy / "systemd", root)
        done = run("systemd-analyze", "verify", "--man=no", f"--root={root}", *names)
        # An unknown key is a warning to systemd, which then runs the unit without it.
        if done.code or done.errors:
            yield Problem("systemd", done.errors.replace(folder, ""))
            return
        words = ("security", "--offline=true", "--no-pager", f"--root={root}")
        for name in (name for name in names if name.endswith(".service")):
            found = run("systemd-analyze", *words, f"--threshold={MAX_EXPOSURE}", name)
            if found.code:
                yield Problem(name, found.output.splitlines()[-1])


def stage(units: Path, root: Path) -> list[str]:
    """Lay units out below a root folder, with the programs that they start; return their names."""
    shutil.copytree(SYSTEM, root / "usr/lib/systemd/system", symlinks=True)
    installed = root / "etc/systemd/system"
    shutil.copytree(units, installed)
    for file in installed.glob("*.service"):
        program = _PROGRAM.search(file.read_text())
        if program:
            path = root / program[1].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o755)
    files = sorted([*installed.glob("*.service"), *installed.glob("*.target")])
    return [file.name.replace("@.", "@0.") for file in files]
