"""The GPU engines say why they cannot start; their work is tested in `test_engines.py`."""

from __future__ import annotations

import pytest

from forebay.routing.errors import EngineUnavailable, Misconfigured
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings
from tinymodel import write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "tiny")


@pytest.mark.parametrize("engine", ["exl2", "exl3"])
def test_without_a_gpu_the_start_says_what_to_do(engine, folder):
    settings = EngineSettings(engine=engine, model_dir=folder)
    for start in (make_engine, open_engine):
        with pytest.raises(EngineUnavailable, match="torch is not installed; pip install torch"):
            start(settings)


@pytest.mark.parametrize("engine", ["exl2", "exl3"])
def test_a_model_folder_must_be_named_and_there(engine, tmp_path):
    for folder in (None, tmp_path / "missing"):
        with pytest.raises(Misconfigured) as caught:
            make_engine(EngineSettings(engine=engine, model_dir=folder))
        assert caught.value.field == "FOREBAY_MODEL_DIR"
