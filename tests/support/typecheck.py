"""Type checks of a caller's code, as the caller's own mypy and pyright see an installed Forebay."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def readme_blocks(folder: Path) -> list[Path]:
    """Write each block of Python in README.md to a file of its own."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    files = [folder / f"readme_{number}.py" for number, _ in enumerate(blocks)]
    for file, block in zip(files, blocks, strict=True):
        file.write_text(block)
    return files


def mypy(files, folder, python=sys.executable):
    """Run `mypy --strict` without configuration or plugins; return its exit code and output.

    `python` is the interpreter whose environment has Forebay; mypy itself runs in this one.
    """
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "/dev/null"]
    command += ["--python-executable", str(python), "--cache-dir", str(folder / "mypy")]
    return _run([*command, *map(str, files)], folder)


def pyright(files, folder, python=sys.executable):
    """Run pyright without configuration; return its exit code and output."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", str(python)]
    return _run([*command, *map(str, files)], folder)


def _run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
