"""The release before this one: its tree from git, and a Python that runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.fleet import ROOT

#: The release before, until there are tags `v*`: the last commit whose jobs carry no version.
PREVIOUS = "e75af98badd3cd48e9ac3b4a6ba07a4dbcba6188"
LOCK = "deploy/requirements/run.txt"


@dataclass(frozen=True)
class Release:
    """A tree of Forebay.

    Attributes:
        commit: the commit that it is.
        folder: its files.
        python: a Python with the packages that its lock names.
    """

    commit: str
    folder: Path
    python: Path

    @property
    def env(self) -> dict[str, str]:
        """The variables with which `python` imports this tree's `forebay`."""
        return {"PYTHONPATH": str(self.folder / "src")}


THIS = Release("HEAD", ROOT, Path(sys.executable))


def previous(folder: Path) -> Release:
    """Return the release before this one, laid out below a folder.

    A clone without its history skips the test, and fails it in CI.
    """
    commit = _newest_tag() or PREVIOUS
    if _git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
        why = f"this clone lacks the history: no commit {commit} (git fetch --unshallow --tags)"
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    tree = folder / "previous"
    tree.mkdir()
    archive = _git("archive", commit).stdout
    subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
    same = (tree / LOCK).read_bytes() == (ROOT / LOCK).read_bytes()
    return Release(commit, tree, Path(sys.executable) if same else _environment(folder, tree))


def _newest_tag() -> str:
    """Return the newest tag of a version that is not this commit's own; empty if there is none."""
    found = _git("tag", "--list", "v*", "--merged", "HEAD~1", "--sort=-version:refname")
    return found.stdout.decode().partition("\n")[0]


def _environment(folder: Path, tree: Path) -> Path:
    """Make an environment with what the lock of a tree names."""
    venv.create(folder / "environment", with_pip=False)
    python = folder / "environment" / "bin" / "python"
    words = ["install", "--quiet", "--only-binary", ":all:", "--require-hashes", "--no-deps"]
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, *words, "--requirement", tree / LOCK], check=True)
    return python


def _git(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, check=False)
