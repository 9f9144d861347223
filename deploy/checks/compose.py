"""The compose files, by the Compose Specification's own schema, and for names that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from checks.references import undeclared
from checks.tools import Problem, run

SCHEMA = "vendor.compose-spec"


def check(deploy: Path) -> Iterator[Problem]:
    """Yield what the schema has against each compose file."""
    for file in sorted(deploy.glob("compose*.yaml")):
        done = run("check-jsonschema", "--builtin-schema", SCHEMA, file)
        if done.code:
            yield Problem(file.name, done.output or done.errors)
        else:
            found = undeclared(yaml.safe_load(file.read_text()))
            yield from (Problem(file.name, message) for message in found)
