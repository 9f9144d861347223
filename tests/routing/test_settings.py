"""Settings from the environment: an empty path is not set, and no other empty value means that."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from forebay.producers.gateway.settings import GatewaySettings
from forebay.producers.gateway.status.settings import StatusSettings
from forebay.routing.errors import Misconfigured
from forebay.routing.settings import EnvironmentSettings, Settings, read
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.settings import ActorSettings


def classes(root=EnvironmentSettings):
    return [cls for child in root.__subclasses__() for cls in (child, *classes(child))]


PATHS = [
    (cls, name)
    for cls in classes()
    for name, field in cls.model_fields.items()
    if Path in get_args(field.annotation)
]


def test_the_settings_have_paths():
    known = {
        (Settings, "policy_file"), (BedrockSettings, "prices_file"),
        (EngineSettings, "model_file"), (ActorSettings, "heartbeat_file"),
    }  # fmt: skip
    assert known <= set(PATHS)


@pytest.mark.parametrize(("cls", "name"), PATHS)
def test_a_path_that_is_empty_is_not_set(monkeypatch, cls, name):
    variable = f"{cls.model_config['env_prefix']}{name}".upper()
    monkeypatch.setenv(variable, "")
    assert getattr(read(cls), name) is None
    monkeypatch.setenv(variable, "some/file")
    assert getattr(read(cls), name) == Path("some/file")


@pytest.mark.parametrize("variable", ["FOREBAY_LEASE_S", "FOREBAY_MAX_WAITING"])
def test_another_value_that_is_empty_is_refused_by_name(monkeypatch, variable):
    monkeypatch.setenv(variable, "")
    with pytest.raises(Misconfigured) as caught:
        read(Settings)
    assert caught.value.field == variable
    assert str(caught.value) == f"{variable}: is empty: give it a value, or unset it"


@pytest.mark.parametrize(
    ("cls", "variable", "value", "message"),
    [
        (Settings, "FOREBAY_LEASE_S", "10s", "must be a number, without a unit"),
        (Settings, "FOREBAY_MAX_WAITING", "2M", "must be a whole number, without a unit"),
        (GatewaySettings, "FOREBAY_GATEWAY_MODELS", "a=b", "must be JSON, as deploy/env.example"),
        (StatusSettings, "FOREBAY_STATUS_SECRET", "short", "must have at least 24 characters"),
    ],
)
def test_a_mistake_says_what_the_value_must_be(monkeypatch, cls, variable, value, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(Misconfigured, match=f"^{variable}: {message}"):
        read(cls)


def test_a_misspelled_setting_is_an_error_and_another_partys_variable_is_none(monkeypatch):
    monkeypatch.setenv("FOREBAY_OF_A_LATER_VERSION", "1")
    assert Settings(lease_s=3).lease_s == 3
    with pytest.raises(ValidationError, match="redis_ulr"):
        Settings(redis_ulr="redis://elsewhere")
