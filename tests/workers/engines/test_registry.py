"""The table of engines: its names, its classes, and the commands that read it."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from forebay.workers.commands import doctor
from forebay.workers.engines.engine import Engine
from forebay.workers.engines.registry import ENGINES, EngineName
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.weights.architecture import GpuEngineName
from patience import examined

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


@pytest.fixture(params=ENGINES)
def name(request):
    return request.param


def test_the_names_of_the_settings_are_those_of_the_table():
    assert get_args(EngineName) == tuple(ENGINES)
    assert EngineSettings.model_fields["engine"].default in ENGINES


def test_each_target_is_an_engine_class_that_takes_only_settings(name):
    module, _, class_name = ENGINES[name].target.partition(":")
    engine_class = getattr(importlib.import_module(module), class_name)
    methods = [method for method in vars(Engine) if not method.startswith("_")]
    assert "submit" in methods
    assert all(inspect.isfunction(getattr(engine_class, method, None)) for method in methods)
    assert list(inspect.signature(engine_class).parameters) == ["settings"]


def test_an_engine_with_a_library_says_how_to_install_it_by_extras_that_exist(name):
    entry = ENGINES[name]
    assert bool(entry.library) == bool(entry.install)
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"extra `(\w+)`", entry.install)) <= extras.keys()


def test_every_engine_whose_memory_is_planned_is_in_the_table_and_loads_a_folder():
    planned = {name for name, entry in ENGINES.items() if entry.needs_gpu}
    assert planned == set(get_args(GpuEngineName))
    assert {ENGINES[name].model for name in planned} == {"folder"}


def test_the_doctor_examines_every_engine_and_its_model(name, monkeypatch):
    monkeypatch.setenv("FOREBAY_ENGINE", name)
    findings = examined([doctor.engine, doctor.model])
    assert len(findings) >= 2
    assert findings[-1].name == "model"
    assert all(finding.seen for finding in findings)


def test_the_doctor_takes_a_machine_with_any_engines_library_for_a_worker(name, monkeypatch):
    library = ENGINES[name].library
    monkeypatch.setattr(doctor, "find_spec", lambda module: module == library or None)
    assert (doctor.engine in doctor.checks(online=False)) == (library is not None)


def test_the_doctor_fails_a_machine_without_a_gpu_only_if_the_engine_needs_one(name, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    monkeypatch.setenv("FOREBAY_ENGINE", name)
    [finding] = doctor.gpu()
    assert finding.state == ("fail" if ENGINES[name].needs_gpu else "ok")
