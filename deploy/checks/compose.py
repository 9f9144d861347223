"""The compose files, by the Compose Specification's own schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from checks.tools import Problem, run

SCHEMA = "vendor.compose-spec"


def check(deploy: Path) -> Iterator[Problem]:
    """Yield what the schema has against each compose file."""
    for file in sorted(deploy.glob("compose*.yaml")):
        done = run("check-jsonschema", "--builtin-schema", SCHEMA, file)
        if done.code:
            yield Problem(file.name, done.output or done.errors)
