"""The Dockerfiles, by hadolint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from checks.tools import Problem, run


def check(deploy: Path) -> Iterator[Problem]:
    """Yield what hadolint finds in each Dockerfile."""
    for file in sorted(deploy.glob("Dockerfile.*")):
        done = run("hadolint", "--no-color", file)
        if done.code:
            yield Problem(file.name, done.output or done.errors)
