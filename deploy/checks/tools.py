"""Runs the tools that know a format best. They are installed beside the Python that runs this."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TIMEOUT_S = 120.0  # of one tool


class Problem(NamedTuple):
    """What a tool has against a file.

    Attributes:
        file: the file, or what was made of several files.
        message: the tool's own words.
    """

    file: str
    message: str


class Ran(NamedTuple):
    """A tool that has ended: its exit code, and what it printed."""

    code: int
    output: str
    errors: str


def run(tool: str, *words: str | Path) -> Ran:
    """Run a tool of this environment, or of the system if it is not installed here."""
    own = Path(sys.executable).parent / tool
    command: Sequence[str | Path] = [own if own.exists() else tool, *words]
    done = subprocess.run(  # noqa: S603 - a tool that the lock names, and no shell
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    return Ran(done.returncode, done.stdout.strip(), done.stderr.strip())
