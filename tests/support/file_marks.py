"""The marks that a test file gives to all of its tests, read without importing it."""

from __future__ import annotations

import re
from pathlib import Path

#: Folders whose slow tests start whole fleets, or look at the clock. `make test` runs them apart.
FLEETS = (
    "deploy/", "examples/", "front_door/", "producers/gateway/", "whole/", "workers/runtime/",
    "workers/telemetry/",
)  # fmt: skip
TESTS = Path(__file__).parents[1]
PYTESTMARK = re.compile(r"^pytestmark = (.*?)\n(?=\S|\Z)", re.MULTILINE | re.DOTALL)


def in_a_folder_of_fleets(path: Path) -> bool:
    """Return if the slow tests of this file start whole fleets, or look at the clock."""
    return path.is_relative_to(TESTS) and path.relative_to(TESTS).as_posix().startswith(FLEETS)


def marks_of_file(path: Path) -> set[str]:
    """Return the marks in `pytestmark` of a file, and `fleets` if they imply it."""
    stated = PYTESTMARK.search(path.read_text())
    marks = set(re.findall(r"\bmark\.(\w+)", stated[1])) if stated else set()
    return marks | {"fleets"} if "slow" in marks and in_a_folder_of_fleets(path) else marks


def excluded_by(expression: str) -> set[str]:
    """Return the marks whose tests pytest's `-m` leaves out for certain."""
    simple = re.fullmatch(r"(not )?\w+( and (not )?\w+)*", expression)
    return set(re.findall(r"\bnot (\w+)", expression)) if simple else set()
