"""`deploy/env.example` lists every setting, with its default."""

import re

import pytest
from pydantic_settings import BaseSettings

import forebay.producers.gateway.settings
import forebay.producers.gateway.status.settings
import forebay.routing.logs
import forebay.routing.settings
import forebay.workers.engines.settings
import forebay.workers.frontier.settings
import forebay.workers.runtime.settings
import forebay.workers.telemetry.metrics.settings
from forebay.workers.commands import doctor
from local.fleet import ROOT

LINES = (ROOT / "deploy" / "env.example").read_text().splitlines()
EXAMPLE = dict(
    line.removeprefix("#").split("=", 1) for line in LINES if "FOREBAY_" in line and "=" in line
)
CLASSES = [
    value
    for module in (
        forebay.producers.gateway.settings,
        forebay.producers.gateway.status.settings,
        forebay.routing.logs,
        forebay.routing.settings,
        forebay.workers.runtime.settings,
        forebay.workers.engines.settings,
        forebay.workers.frontier.settings,
        forebay.workers.telemetry.metrics.settings,
    )
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, BaseSettings) and value is not BaseSettings
]
FIELDS = {}  # by variable
for cls in CLASSES:
    for name in cls.model_fields:
        # Two classes have FOREBAY_SECOND_ENGINE; the default is that of the first, the switch.
        FIELDS.setdefault(f"{cls.model_config['env_prefix']}{name.upper()}", (cls, name))


def read_in_source():
    """Return every variable that a file of the three packages or of deploy/ names."""
    folders = ("routing", "workers", "producers", "deploy")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {
        name
        for path in files
        for name in re.findall(r"FOREBAY_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_])", path.read_text())
    }


def test_every_setting_is_in_the_example_and_nothing_else_is():
    assert set(EXAMPLE) == set(FIELDS) | read_in_source()


def test_the_doctor_knows_every_setting():
    assert doctor.known_settings() == set(EXAMPLE)


@pytest.mark.parametrize("variable", FIELDS)
def test_the_value_in_the_example_is_the_default(variable, monkeypatch):
    (cls, name), value = FIELDS[variable], EXAMPLE[variable]
    default = getattr(cls(), name)
    if not value:
        assert default is None
        return
    monkeypatch.setenv(variable, value)
    assert getattr(cls(), name) == default


def test_every_line_is_a_comment_so_the_example_changes_nothing():
    assert all(line.startswith("#") for line in LINES if line)
